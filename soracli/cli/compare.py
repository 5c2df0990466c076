"""``sora compare``: whether a run is on track, beside a reference curve; and a reference made of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import print_json, print_result, print_table
from soracli.cli.options import JsonOption, OverwriteOption
from soracli.cli.pace import duration
from soracli.core.errors import UsageError

if TYPE_CHECKING:
    from soracli.pipelines.compare_runs import MetricReport, RunReport

_COURSE_WIDTH = 20
"""Characters of a whole curve."""
_HEIGHTS = "▁▂▃▄▅▆▇█"


def register(parent: typer.Typer) -> None:
    """Add the command to the application."""
    parent.command("compare")(compare)


def compare(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training, finished or not.")],
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="REFERENCE", help="A recipe's name (nano/vae), or a file of --write.", show_default=False
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Make a reference of the run instead.")
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option(
            "--hardware", metavar="TEXT", help="What the run ran on; with --write.", show_default="this machine"
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Whether a run is on track: its curves beside a reference's, with a tolerance from the reference's own scatter.

    The verdict is on the last line: on track, behind by N steps, or diverged. With --write the run becomes a reference
    itself.
    """
    if (reference is None) == (write is None):
        raise UsageError("name a REFERENCE to compare with (nano/vae, or a file), or --write FILE to make one")
    if write is not None:
        _write(run, write, hardware, overwrite=overwrite)
        return
    if hardware is not None:
        raise UsageError("--hardware says what a reference was made on: it goes with --write FILE")
    from soracli.pipelines.compare_runs import compare_runs
    from soracli.recipe.find import find_reference

    assert reference is not None
    report = compare_runs(run, find_reference(reference))
    if json:
        print_json(asdict(report))
    else:
        show_report(report)


def show_report(report: RunReport) -> None:
    """Print the comparison, and the verdict on the last line."""
    print_result(
        f"{report.run}: step {report.steps} in {duration(report.seconds)}; the reference was there in "
        f"{duration(report.reference_seconds)}, of {report.reference_steps} steps, on {report.hardware}"
    )
    ours, theirs = report.seeds
    print_result(f"seed: {ours}, as the reference" if ours == theirs else f"seed: {ours} (reference {theirs})")
    if report.changes:
        print_result(f"recipe, so curves need not agree: {'; '.join(report.changes)}")
    headers = ("metric", "step", "run", "reference", "tolerance", "outside", "its course", "the reference's", "")
    print_table(headers, [_row(metric) for metric in report.metrics])
    if report.missing:
        print_result(f"not measured by the run: {', '.join(report.missing)}")
    print_result(f"protocol: {report.protocol}")
    print_result(report.verdict)


def _write(run: Path, file: Path, hardware: str | None, *, overwrite: bool) -> None:
    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists; give another name, or --overwrite")
    if file.suffix != ".json":
        raise UsageError(f"a reference is a .json, got {file.name!r}; try {file.stem}.json")
    from soracli.pipelines.reference_curves import make_reference, read_run, this_machine, write_reference

    write_reference(file, make_reference(read_run(run), hardware or this_machine()))
    print_result(file)


def _row(metric: MetricReport) -> tuple[object, ...]:
    found = metric.comparison
    both = (*metric.reference_course, *found.course)
    low, high = min(both), max(both)
    share = len(found.course) / len(metric.reference_course)
    return (
        metric.name,
        found.step,
        *("-" if value is None else f"{value:.4g}" for value in (found.run, found.reference, found.tolerance)),
        f"{found.outside} of {found.stretches}",
        _drawn(found.course, low, high, math.ceil(share * _COURSE_WIDTH)),
        _drawn(metric.reference_course, low, high, _COURSE_WIDTH),
        f"behind by {found.steps_behind} steps" if found.state == "behind" else found.state or "",
    )


def _drawn(values: Sequence[float], low: float, high: float, width: int) -> str:
    """A curve as a row of bars, each the mean of as many values as the others."""
    if not values:
        return ""
    width = min(width, len(values))
    bounds = [round(number * len(values) / width) for number in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]
    span = (high - low) or 1.0
    return "".join(_HEIGHTS[min(len(_HEIGHTS) - 1, int((mean - low) / span * len(_HEIGHTS)))] for mean in means)
