"""What a training measured, as it can be kept: a small JSON file to compare other runs of the same recipe with.

Torch-free. A reference holds the recipe's resolved values (but for paths, which are one person's own), the curve of
every metric, the last figures, the time, the seed, and what it was run on.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from soracli import __version__
from soracli.core.errors import ArtifactError
from soracli.core.files import write_text_atomic
from soracli.core.json_text import parse_json
from soracli.metrics.curves import MOST_POINTS, Curve, Value, thin_curve
from soracli.training.metrics_log import read_metrics

FORMAT: Final = "sora-reference"
VERSION: Final = 1
_DIGITS: Final = 6
"""Significant digits of what is kept."""
_PATHS: Final = ("clips",)
"""Keys of a run's record that hold paths."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run folder says of a training.

    Attributes:
        kind: Of its recipe, such as ``vae.train``.
        recipe: Every resolved value, but for paths.
        seed: Of the run.
        steps: That it has to do.
        metrics: What was measured, by name: values in the order of steps. Values that are not finite are kept.
        times: Seconds of the run so far at each logged step.
    """

    kind: str
    recipe: Mapping[str, Any]
    seed: int
    steps: int
    metrics: Mapping[str, list[Value]]
    times: list[Value]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A run to compare others with.

    Attributes:
        kind: Of its recipe.
        recipe: Every resolved value, but for paths.
        seed: Of the run.
        steps: Last step that was logged.
        seconds: That it took up to there.
        hardware: What it ran on, for people.
        made_by: Which sora wrote this.
        final: The last value of each metric.
        curves: The curve of each metric.
        times: Seconds at some steps.
    """

    kind: str
    recipe: Mapping[str, Any]
    seed: int
    steps: int
    seconds: float
    hardware: str
    made_by: str
    final: Mapping[str, float]
    curves: Mapping[str, Curve]
    times: list[Value]


def read_run(run: Path) -> RunRecord:
    """Read what a training run has measured so far; it may still go on.

    Raises:
        ArtifactError: If it is no run of a training, is damaged, or has measured nothing yet.
    """
    path = run / "run.json"
    try:
        resolved = parse_json(path.read_text(encoding="utf-8"))["resolved"]
        kind, seed, steps = str(resolved["kind"]), int(resolved["loop"]["seed"]), int(resolved["loop"]["steps"])
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{run} is no run of a training: it has no run.json") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged, or of no training: {error!r}") from error
    metrics: dict[str, dict[int, float]] = {}
    times: dict[int, float] = {}
    # A run that went back to a checkpoint logs steps again: the later line is what it went on from.
    for line in read_metrics(run / "metrics.jsonl"):
        for name, value in line.items():
            number = _number(value)
            if name == "seconds" and number is not None:
                times[line["step"]] = number
            elif name != "step" and number is not None:
                metrics.setdefault(name, {})[line["step"]] = number
    if not metrics:
        raise ArtifactError(f"{run} has measured nothing yet: wait until its first loop.log_every steps are done")
    return RunRecord(
        kind=kind,
        recipe={key: value for key, value in resolved.items() if key not in _PATHS},
        seed=seed,
        steps=steps,
        metrics={name: sorted(values.items()) for name, values in metrics.items()},
        times=sorted(times.items()),
    )


def make_reference(run: RunRecord, hardware: str) -> Reference:
    """A reference of a run, up to where it is.

    Args:
        run: What it measured. A metric without a finite value is left out.
        hardware: What it ran on, for people.

    Raises:
        ArtifactError: If it has no finite value at all.
    """
    finite = {
        name: [(step, value) for step, value in values if math.isfinite(value)] for name, values in run.metrics.items()
    }
    finite = {name: values for name, values in finite.items() if values}
    if not finite:
        raise ArtifactError("the run has no finite figure, so it is no reference")
    last, seconds = run.times[-1]
    every = -(-len(run.times) // MOST_POINTS)
    return Reference(
        kind=run.kind,
        recipe=run.recipe,
        seed=run.seed,
        steps=last,
        seconds=seconds,
        hardware=hardware,
        made_by=f"sora-trainer {__version__}",
        final={name: values[-1][1] for name, values in finite.items()},
        curves={name: thin_curve(values) for name, values in finite.items()},
        times=run.times[::-1][::every][::-1],
    )


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference, one curve a line.

    Raises:
        MachineError: If it cannot be written.
    """
    values = {"format": FORMAT, "version": VERSION, **asdict(reference)}
    curves = values.pop("curves")
    lines = [
        f"  {json.dumps(name)}: {_text(value if name == 'recipe' else _rounded(value))}"
        for name, value in values.items()
    ]
    inner = [f"    {json.dumps(name)}: {_text(_rounded(curve))}" for name, curve in curves.items()]
    lines.append('  "curves": {\n' + ",\n".join(inner) + "\n  }")
    write_text_atomic(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_reference(path: Path) -> Reference:
    """Read a reference.

    Raises:
        ArtifactError: If it is none, damaged, or of a newer version.
    """
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ArtifactError(f"{path} is no reference: make one with sora compare RUN --write FILE")
        if values["version"] != VERSION:
            raise ArtifactError(f"{path} has version {values['version']}; this sora reads {VERSION}: update sora")
        return Reference(
            kind=str(values["kind"]),
            recipe=dict(values["recipe"]),
            seed=int(values["seed"]),
            steps=int(values["steps"]),
            seconds=float(values["seconds"]),
            hardware=str(values["hardware"]),
            made_by=str(values["made_by"]),
            final={name: float(value) for name, value in values["final"].items()},
            curves={name: _curve(curve) for name, curve in values["curves"].items()},
            times=[(int(step), float(seconds)) for step, seconds in values["times"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} cannot be read as a reference: {error}") from error


def this_machine() -> str:
    """Processor, cores that may be used, and graphics cards, as far as the system tells."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    cards = [_field(path, "Model") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return ", ".join([f"{cores} cores of {name}", *filter(None, cards)])


def _field(path: Path, name: str) -> str:
    """The value of the first line ``name : value`` of a file of the system, "" without one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


def _number(value: Any) -> float | None:
    """A logged number; ``"nan"`` and ``"inf"`` are text there."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _curve(values: Mapping[str, Any]) -> Curve:
    curve = Curve(
        steps=tuple(map(int, values["steps"])),
        values=tuple(map(float, values["values"])),
        counts=tuple(map(int, values["counts"])),
        scatter=tuple(map(float, values["scatter"])),
    )
    lengths = {len(part) for part in (curve.steps, curve.values, curve.counts, curve.scatter)}
    if len(lengths) != 1 or not curve.steps or list(curve.steps) != sorted(set(curve.steps)) or min(curve.counts) < 1:
        raise ValueError("a curve's steps must rise, and everything in it be of one length")
    return curve


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
