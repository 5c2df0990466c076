"""Tables of ``sora dit eval``, each with its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from soracli.cli.console import print_result, print_table

if TYPE_CHECKING:
    from soracli.metrics.intervals import Share
    from soracli.pipelines.evaluate_dit import DitReport
    from soracli.pipelines.evaluate_drift import DriftReport, LongFigures, Mean
    from soracli.pipelines.evaluate_edits import EditReport
    from soracli.pipelines.evaluate_identity import IdentityReport
    from soracli.pipelines.evaluate_names import NamesReport
    from soracli.pipelines.evaluate_obedience import ObedienceReport
    from soracli.pipelines.evaluate_seams import SeamReport

_HASHES, _HASH_DIGITS = ("model", "adapter"), 12
_OVER_TIME = ("sharpness", "saturation", "contrast", "colourfulness", "count", "colours", "sizes", "motion")
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
    if report.seams is not None:
        _show_seams(report.seams)
    if report.edits is not None:
        _show_edits(report.edits)
    if report.identity is not None:
        _show_identity(report.identity)


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
    print_result("\nfrom the first seconds to the last, beyond what the render changes, percentage points")
    names = list(dict.fromkeys(name for row in report.figures.values() for name in row.beyond_render))
    print_table(
        ("", *names, "dynamic degree", "of the last seconds"),
        [
            (
                source,
                *(_mean(row.beyond_render.get(name)) for name in names),
                f"{row.dynamic_degree:.2f}",
                f"{row.last_dynamic_degree:.2f}",
            )
            for source, row in report.figures.items()
        ],
    )
    print_result("\nby window, mean over videos: generated / render")
    print_table(("seconds", *_OVER_TIME), _window_rows(report))
    print_result("\nvideos, from the first seconds to the last")
    headers = ("video", "", "colour", "sharpness, %", "saturation, %", "contrast, %", "colourfulness, %")
    rows: list[Sequence[str]] = []
    for video in report.videos:
        for number, (source, figures) in enumerate(video.figures.items()):
            rows.append(("" if number else video.prompt, source, *_figures(figures)))
    print_table((*headers, "frozen windows", "repeat"), rows)
    print_result(f"protocol: {report.protocol}")


def _window_rows(report: DriftReport) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for number, window in enumerate(report.videos[0].figures["render"].windows):
        cells = [f"{window.start:g}-{window.start + window.seconds:g}"]
        for name in _OVER_TIME:
            pair = []
            for source in ("generated", "render"):
                places = [video.figures[source] for video in report.videos]
                found = [
                    value
                    for one in places
                    for part in (one.windows[number], one.objects[number])
                    if (value := getattr(part, name, None)) is not None
                ]
                pair.append(f"{fmean(found):.3f}" if found else "-")
            cells.append(" / ".join(pair))
        rows.append(cells)
    return rows


def _show_seams(report: SeamReport) -> None:
    print_result("\nsteps at seams over the steps around them")
    figures = ("median", "up to 1.5, %", "up to 2, %", "worst")
    headers = ("material", "verb", *figures, *(f"plain: {name}" for name in figures))
    rows = [
        (
            *(row.material, row.verb, f"{row.median:.2f}", _cell(row.smooth), _cell(row.smooth_for_a_camera)),
            *(f"{row.worst:.2f}", f"{row.plain_median:.2f}", _cell(row.plain_smooth)),
            *(_cell(row.plain_smooth_for_a_camera), f"{row.plain_worst:.2f}", _cell(row.kept), _cell(row.kept_in_file)),
        )
        for row in report.figures
    ]
    print_table((*headers, "own frames kept, %", "in the file, %"), rows)
    print_result(f"protocol: {report.protocol}")


def _show_edits(report: EditReport) -> None:
    print_result("\ninstructions followed, %")
    sources = list(report.shares)
    rows = [("changed as asked", "changed"), ("all else kept", "kept"), ("both", "both")]
    table = [(text, *(_cell(report.shares[source].get(name)) for source in sources)) for text, name in rows]
    kept = [name for name in report.shares[sources[0]] if name not in {key for _, key in rows}]
    table += [(f"  {name} kept", *(_cell(report.shares[source].get(name)) for source in sources)) for name in kept]
    kinds = list(report.changed_by_kind[sources[0]])
    table += [
        (f"  {kind}: changed", *(_cell(report.changed_by_kind[source].get(kind)) for source in sources))
        for kind in kinds
    ]
    print_table(("", *sources), table)
    print_result(f"protocol: {report.protocol}")


def _show_identity(report: IdentityReport) -> None:
    print_result("\nhidden, and back as it was, %")
    columns = [(source, group) for source, groups in report.shares.items() for group in groups]
    figures = dict.fromkeys(name for source, group in columns for name in report.shares[source][group])
    print_table(
        ("", *(f"{source}, {group}" for source, group in columns)),
        [(name, *(_cell(report.shares[source][group].get(name)) for source, group in columns)) for name in figures],
    )
    if report.chance:
        print_result(f"chance: {', '.join(f'{group} {100 * share:.1f}' for group, share in report.chance.items())}")
    print_result(f"protocol: {report.protocol}")


def _figures(figures: LongFigures) -> tuple[str, ...]:
    drift = figures.drift
    return (
        f"{drift.colour:.3f}",
        *(f"{change:+.1f}" for change in (drift.sharpness, drift.saturation, drift.contrast, drift.colourfulness)),
        f"{figures.frozen} of {len(figures.windows)}",
        f"{figures.largest_repeat:.2f}",
    )


def _mean(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    return f"{mean.mean:+.1f}" if mean.error is None else f"{mean.mean:+.1f} (error {mean.error:.1f})"


def _cell(share: Share | None) -> str:
    if share is None:
        return "-"
    return f"{100 * share.share:.1f} [{100 * share.low:.0f}-{100 * share.high:.0f}]"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
