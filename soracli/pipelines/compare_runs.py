"""``sora compare``: whether a run is on the track that a reference of its recipe was on. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from soracli.core.errors import UsageError
from soracli.metrics.curves import LATEST, LEAST_TOLERANCE, SIGMAS, Comparison, State, Value, compare_curves
from soracli.pipelines.recipes import RECIPES
from soracli.pipelines.reference_curves import Reference, RunRecord, read_reference, read_run
from soracli.training.config import COMPILE_MAY_CHANGE
from soracli.training.recipe_changes import recipe_changes, with_defaults

_DECISIVE: Final = ("loss", "psnr", "fixed_loss", "held_out_*")
"""Patterns of the metrics that a verdict rests on; the others are shown beside it."""
_LESS_IS_BETTER: Final = ("*loss*",)
_WORST_FIRST: Final[tuple[State, ...]] = ("diverged", "behind", "on track", "ahead", "too early")
_UNIMPORTANT: Final = (
    *(key for key in COMPILE_MAY_CHANGE if key != "loop.steps"),
    "accumulate",
    "loop.ema_decays",
    "loop.seed",
)
"""Keys of a recipe that do not bend a curve, and the seed, which is told apart."""
_LONGEST_VALUE: Final = 24


@dataclass(frozen=True, kw_only=True)
class MetricReport:
    """One metric of both.

    Attributes:
        name: As in ``metrics.jsonl``.
        decisive: Whether the verdict rests on it.
        comparison: What was found.
        reference_course: The reference's whole curve, one number a stretch.
    """

    name: str
    decisive: bool
    comparison: Comparison
    reference_course: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """A run beside its reference; ``dataclasses.asdict`` of it is plain JSON values.

    Attributes:
        run: The run folder.
        reference: The reference's file.
        kind: Of both recipes.
        state: The worst of the decisive metrics'; None when there are none.
        verdict: In words.
        steps: The run's last logged step.
        seconds: The time it took up to there.
        reference_seconds: The time the reference took up to that step, or up to its end if that is earlier.
        reference_steps: The reference's last step.
        hardware: That the reference ran on.
        seeds: The run's and the reference's.
        changes: How the run's recipe differs, a line each.
        metrics: Those that both have, the decisive ones first.
        missing: Metrics of the reference that the run has not measured.
        protocol: How the comparison is made, for people.
    """

    run: str
    reference: str
    kind: str
    state: State | None
    verdict: str
    steps: int
    seconds: float
    reference_seconds: float
    reference_steps: int
    hardware: str
    seeds: tuple[int, int]
    changes: tuple[str, ...]
    metrics: tuple[MetricReport, ...]
    missing: tuple[str, ...]
    protocol: str


def compare_runs(run: Path, reference: Path) -> RunReport:
    """Compare a run, finished or not, with a reference.

    Args:
        run: The run folder.
        reference: A file of ``write_reference``.

    Raises:
        ArtifactError: If either cannot be read.
        UsageError: If they are trainings of different kinds.
    """
    ours, theirs = read_run(run), read_reference(reference)
    if ours.kind != theirs.kind:
        raise UsageError(f"{run} is a {ours.kind}, but {reference} is of a {theirs.kind}: name one of the same kind")
    metrics = _metrics(ours, theirs)
    steps, seconds = ours.times[-1]
    state, verdict = _verdict(metrics, theirs)
    return RunReport(
        run=str(run),
        reference=str(reference),
        kind=ours.kind,
        state=state,
        verdict=verdict,
        steps=steps,
        seconds=seconds,
        reference_seconds=_seconds_at(theirs.times, steps),
        reference_steps=theirs.steps,
        hardware=theirs.hardware,
        seeds=(ours.seed, theirs.seed),
        changes=tuple(_changes(ours.recipe, theirs.recipe)),
        metrics=tuple(metrics),
        missing=tuple(name for name in theirs.curves if name not in ours.metrics),
        protocol=(
            f"means over the latest {LATEST:.0%} of the stretches of steps that both have; tolerance: {SIGMAS:g} "
            "standard errors of their difference, from the scatter of the reference's values around its curve, at "
            f"least {LEAST_TOLERANCE:.0%} of the range of that curve; outside: single stretches beyond theirs"
        ),
    )


def direction_of(name: str) -> int:
    """Whether more of a metric is better (1) or less (-1); 0 for one that no verdict rests on."""
    if not _matches(name, _DECISIVE):
        return 0
    return -1 if _matches(name, _LESS_IS_BETTER) else 1


def _metrics(ours: RunRecord, theirs: Reference) -> list[MetricReport]:
    found = [
        MetricReport(
            name=name,
            decisive=direction_of(name) != 0,
            comparison=compare_curves(curve, ours.metrics[name], direction_of(name)),
            reference_course=curve.values,
        )
        for name, curve in theirs.curves.items()
        if name in ours.metrics
    ]
    return sorted(found, key=lambda metric: not metric.decisive)


def _verdict(metrics: Sequence[MetricReport], reference: Reference) -> tuple[State | None, str]:
    decisive = [metric for metric in metrics if metric.decisive]
    if not decisive:
        return None, "nothing to judge by: no decisive metric is in both"
    by_state: dict[State | None, list[MetricReport]] = {}
    for metric in decisive:
        by_state.setdefault(metric.comparison.state, []).append(metric)
    state = next(state for state in _WORST_FIRST if state in by_state)
    worst = max(by_state[state], key=lambda metric: metric.comparison.steps_behind)
    place = _place(worst)
    if state == "diverged":
        return state, f"diverged: {place}"
    if state == "behind":
        return state, f"behind by {worst.comparison.steps_behind} steps: {place}"
    if state == "too early":
        first = min(curve.steps[0] for curve in reference.curves.values())
        return state, f"too early to say: the reference's first figures are at step {first}"
    ahead = [metric.name for metric in by_state.get("ahead", [])]
    judged = len(decisive) - len(by_state.get("too early", []))
    end = f", ahead in {', '.join(ahead)}" if ahead else ""
    step = max(metric.comparison.step for metric in decisive)
    return "on track", f"on track{end}: {judged} of {len(decisive)} decisive figures compared, up to step {step}"


def _place(metric: MetricReport) -> str:
    found = metric.comparison
    if not found.finite or found.run is None or found.reference is None:
        return f"the last {metric.name} is not finite"
    return f"{metric.name} {found.run:.4g} at step {found.step}, where the reference has {found.reference:.4g}"


def _changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    # Either may be older than keys that the other has.
    known = RECIPES.get(str(theirs.get("kind")))
    defaults = known().model_dump(mode="json") if known else {}
    return [
        f"{change.key} = {_short(change.new)} (reference {_short(change.old)})"
        for change in recipe_changes(with_defaults(theirs, defaults), with_defaults(ours, defaults))
        if not _matches(change.key, _UNIMPORTANT)
    ]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _seconds_at(times: Sequence[Value], step: int) -> float:
    """Seconds at a step, on a straight line between those that are known."""
    earlier = [(0, 0.0), *(time for time in times if time[0] <= step)]
    later = [time for time in times if time[0] > step]
    (first, began), (last, ended) = earlier[-1], later[0] if later else earlier[-1]
    return began if last == first else began + (ended - began) * (step - first) / (last - first)
