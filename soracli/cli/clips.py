"""``sora clips``: lists of training clips out of folders of videos."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import JsonOption, OverwriteOption
from soracli.core.progress import Reporter
from soracli.core.units import format_seconds, parse_fps, parse_seconds

if TYPE_CHECKING:
    from soracli.pipelines.index_clips import IndexSummary

app = typer.Typer(help="Make lists of training clips.", rich_markup_mode=None)


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="clips")


@app.callback()
def clips() -> None:
    """Make lists of training clips."""


@app.command("index")
def index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of videos, animations and pictures.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The manifest.", show_default="DIR/clips.jsonl"),
    ] = None,
    excerpt: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Cut longer videos into excerpts: 8s, 1m30s.", show_default="whole files"),
    ] = None,
    min_excerpt: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="A shorter rest at the end of a video joins the excerpt before it.",
            show_default="half of --excerpt",
        ),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Take clips at this rate: 12, 24fps. Slower ones stay.", show_default="own"),
    ] = None,
    keep_damaged: Annotated[
        bool, typer.Option("--keep-damaged", help="Take what can be decoded of damaged and cut files.")
    ] = False,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Stop a decoder that gives nothing for so long.")
    ] = "60s",
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes.", show_default="one for each core")
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """List the clips of a folder with captions, sizes and lengths; broken files are named and left out.

    Captions come from NAME.txt beside NAME.mp4, or from metadata.jsonl or metadata.csv (file_name, caption, split).
    The same command again looks only at files that are new or have changed.
    """
    from soracli.pipelines.index_clips import IndexOptions, index_clips

    reporter = TerminalReporter()
    options = IndexOptions(
        excerpt=None if excerpt is None else parse_seconds(excerpt, "--excerpt"),
        min_excerpt=None if min_excerpt is None else parse_seconds(min_excerpt, "--min-excerpt"),
        fps=None if fps is None else parse_fps(fps),
        keep_damaged=keep_damaged,
        timeout=parse_seconds(timeout, "--timeout"),
    )
    count = workers or _cores()
    summary = index_clips(folder, out, options, workers=count, overwrite=overwrite, reporter=reporter)
    _tell(summary, reporter)
    if json:
        print_json(_as_json(summary))
    else:
        print_result(summary.manifest)


@app.command("merge")
def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The manifest to write: all/clips.jsonl.")],
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="What is merged, in this order.")],
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="At most so many training clips of each manifest, evenly spread.",
            show_default="all",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Make one list of clips out of several. Files stay where they are; what is in two lists is taken once."""
    from soracli.pipelines.merge_clips import merge_clips

    summary = merge_clips(out, manifests, limit, overwrite=overwrite)
    reporter = TerminalReporter()
    for path, count in summary.taken:
        reporter.note(f"{path}: {count} clips")
    reporter.note(
        f"{summary.num_clips} clips, {summary.num_validation} of them for validation; "
        f"{summary.duplicates} duplicates left out"
    )
    if json:
        taken = [{"manifest": path, "clips": count} for path, count in summary.taken]
        print_json(
            {
                "manifest": summary.manifest,
                "clips": summary.num_clips,
                "validation": summary.num_validation,
                "duplicates": summary.duplicates,
                "merged": taken,
            }
        )
    else:
        print_result(summary.manifest)


def _cores() -> int:
    """Cores this process may use: under Slurm fewer than the machine has; macOS cannot tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(summary: IndexSummary, reporter: Reporter) -> None:
    moving = summary.num_clips - summary.num_images
    length = format_seconds(summary.seconds) if moving else "0s"
    reporter.note(
        f"{summary.num_clips} clips of {summary.num_files} files: {moving} moving ({length}), "
        f"{summary.num_images} pictures, {summary.num_validation} for validation; "
        f"{summary.captions_missing} without caption"
    )
    sizes = [f"{width}x{height} ({count})" for (height, width), count in list(summary.sizes.items())[:5]]
    more = len(summary.sizes) - len(sizes)
    reporter.note(f"sizes: {', '.join(sizes)}{f' and {more} more' if more else ''}")
    if summary.reused or summary.duplicates:
        reporter.note(
            f"{summary.reused} files unchanged since last time, {summary.duplicates} duplicates of another file"
        )
    for name, remark in summary.remarks:
        reporter.note(f"note: {name}: {remark}")
    for name, reason in summary.problems:
        reporter.note(f"left out: {name}: {reason}")
    if summary.problems:
        reporter.note(f"{len(summary.problems)} files were left out")


def _as_json(summary: IndexSummary) -> dict[str, object]:
    return {
        "manifest": summary.manifest,
        "files": summary.num_files,
        "clips": summary.num_clips,
        "images": summary.num_images,
        "validation": summary.num_validation,
        "seconds": summary.seconds,
        "sizes": [
            {"width": width, "height": height, "clips": count} for (height, width), count in summary.sizes.items()
        ],
        "captions_missing": summary.captions_missing,
        "duplicates": summary.duplicates,
        "reused": summary.reused,
        "ignored": summary.ignored,
        "left_out": [{"file": name, "reason": reason} for name, reason in summary.problems],
        "remarks": [{"file": name, "remark": remark} for name, remark in summary.remarks],
    }
