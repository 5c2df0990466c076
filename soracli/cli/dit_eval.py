"""``sora dit eval``: options in, tables with their protocol or JSON out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result, print_table
from soracli.cli.dit_eval_steps import show_curve
from soracli.cli.options import AdapterOption, DeviceOption, JsonOption, OverwriteOption
from soracli.core.errors import UsageError
from soracli.core.units import parse_seconds

if TYPE_CHECKING:
    from soracli.metrics.intervals import Share
    from soracli.pipelines.evaluate_dit import DitReport
    from soracli.pipelines.evaluate_drift import DriftReport, LongFigures
    from soracli.pipelines.evaluate_names import NamesReport
    from soracli.pipelines.evaluate_obedience import ObedienceReport

_HASHES, _HASH_DIGITS = ("model", "adapter"), 12
_ROWS = {
    "colour_and_shape": "colour and shape",
    "motion": "motion",
    "size": "size",
    "count": "count",
    "ground": "ground",
    "camera": "camera",
    "object": "single objects: colour and shape",
    "object_motion": "single objects: motion",
}


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="nano, a model folder, or a finished run.")] = "nano",
    prompts: Annotated[
        int, typer.Option("--prompts", min=0, metavar="N", help="Prompts of the built-in world to judge; 0: none.")
    ] = 64,
    seconds: Annotated[str, typer.Option("--seconds", metavar="TIME", help="Length of their videos.")] = "4s",
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="MANIFEST", help="Clips of the training, whose names are asked for too."),
    ] = None,
    emoji: Annotated[
        int, typer.Option("--emoji", min=1, metavar="N", help="How many of their names (captions); with --clips.")
    ] = 32,
    minutes: Annotated[
        int, typer.Option("--minutes", min=0, metavar="N", help="Videos of a minute, to measure drift; 0: none.")
    ] = 0,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps", metavar="N,N,...", help="Only this: the prompts again at each number of steps, as in 1,2,4,8,32."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**31 - 1, metavar="N", help="Which prompts, names and videos.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PICTURE", help="A .png of all videos, with what came out right."),
    ] = None,
    adapter: AdapterOption = None,
    judge: Annotated[
        Path | None,
        typer.Option("--judge", metavar="DIR", help="A judge of world videos.", show_default="the one with sora"),
    ] = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Whether videos show what prompts ask for, at the settings of sora generate without options.

    World prompts are judged beside true renders of the same scenes; videos of names are compared with all real clips;
    minutes are measured from their first seconds to their last. With --steps: what fewer steps cost.
    """
    length = parse_seconds(seconds)
    if steps is not None:
        others = {"--clips": clips, "--minutes": minutes, "--out": out}
        if given := [name for name, value in others.items() if value]:
            raise UsageError(f"--steps measures prompts alone; leave out {' and '.join(given)}")
        from soracli.pipelines.find_model import find_model

        show_curve(
            find_model(model),
            steps,
            prompts=prompts,
            seconds=length,
            seed=seed,
            judge=judge,
            adapter=adapter,
            device=device,
            json=json,
        )
        return
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out} exists; give another name, or --overwrite")
    from soracli.pipelines.evaluate_dit import evaluate_dit
    from soracli.pipelines.find_model import find_model

    report = evaluate_dit(
        find_model(model),
        prompts=prompts,
        seconds=length,
        clips=clips,
        names=emoji,
        minutes=minutes,
        seed=seed,
        judge=judge,
        adapter=adapter,
        device=device,
        picture=out,
        reporter=TerminalReporter(),
    )
    if json:
        print_json(asdict(report))
    else:
        show_report(report)


def show_report(report: DitReport) -> None:
    """Print what was found, each table with its protocol."""
    hashes = {name: str(report.settings[name])[:_HASH_DIGITS] for name in _HASHES if name in report.settings}
    settings = {**report.settings, **hashes}
    print_result(f"{report.model}: {', '.join(f'{name} {_plain(value)}' for name, value in settings.items())}")
    if report.obedience is not None:
        _show_obedience(report.obedience, report.judge, report.judge_hash)
    if report.names is not None:
        _show_names(report.names)
    if report.drift is not None:
        _show_drift(report.drift)


def _show_obedience(report: ObedienceReport, judge: str, judge_hash: str) -> None:
    print_result("\nprompts obeyed, %")
    columns = [("generated", group) for group in report.shares["generated"]]
    columns += [(source, "all") for source in report.shares if source != "generated"]
    asked = [question for question in _ROWS if question in report.shares["generated"]["all"]]
    print_table(
        ("", *(group if source == "generated" else source for source, group in columns)),
        [
            (_ROWS[question], *(_cell(report.shares[source][group].get(question)) for source, group in columns))
            for question in asked
        ],
    )
    if report.judge_isolated:
        shares = ", ".join(f"{_ROWS[name]} {_cell(share)}" for name, share in report.judge_isolated.items())
        print_result(f"the judge itself, on renders of one object: {shares}")
    print_result(f"judge: {judge} ({judge_hash[:_HASH_DIGITS]})")
    print_result(f"protocol: {report.protocol}")


def _show_names(report: NamesReport) -> None:
    print_result(f"\nthe nearest of {report.clips} real clips bears the name, %")
    print_table(
        ("features", "nearest", "among 5", "floor: nearest", "floor: among 5"),
        [
            (
                row.features,
                *map(_cell, (row.first, row.among_nearest, row.floor_first, row.floor_among_nearest)),
            )
            for row in report.shares
        ],
    )
    print_result(f"protocol: {report.protocol}")


def _show_drift(report: DriftReport) -> None:
    print_result("\nfrom the first seconds to the last")
    headers = ("video", "", "colour", "saturation", "sharpness", "contrast", "motion", "frozen windows", "repeat")
    rows: list[Sequence[str]] = []
    for video in report.videos:
        rows.append((video.prompt, "generated", *_figures(video.generated)))
        rows.append(("", "render", *_figures(video.render)))
    print_table(headers, rows)
    print_result(f"protocol: {report.protocol}")


def _figures(figures: LongFigures) -> tuple[str, ...]:
    drift = figures.drift
    return (
        f"{drift.colour:.3f}",
        f"{drift.saturation:+.3f}",
        f"x{drift.sharpness:.2f}",
        f"x{drift.contrast:.2f}",
        f"x{drift.motion:.2f}",
        f"{figures.frozen} of {len(figures.windows)}",
        f"{figures.largest_repeat:.2f}",
    )


def _cell(share: Share | None) -> str:
    if share is None:
        return "-"
    return f"{100 * share.share:.1f} [{100 * share.low:.0f}-{100 * share.high:.0f}]"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
