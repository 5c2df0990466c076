"""``sora world``: clips of the built-in physical world, with captions and the truth about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import DeviceOption, DryRunOption, JsonOption, OverwriteOption
from soracli.core.errors import UsageError
from soracli.core.units import parse_fps, parse_seconds, parse_size

app = typer.Typer(help="Make clips of the built-in physical world.", rich_markup_mode=None)


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="world")


@app.callback()
def world() -> None:
    """Make clips of the built-in physical world."""


@app.command("render")
def render(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the clips.")],
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many scenes.")] = 8,
    start: Annotated[
        int, typer.Option(min=0, metavar="N", help="The first scene; several calls may fill one folder.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Which world.")] = 0,
    split: Annotated[
        Literal["train", "held_out", "any"],
        typer.Option(help="Combinations of attributes: those for training, the tenth kept from it, or all."),
    ] = "train",
    seconds: Annotated[
        str | None, typer.Option(metavar="TIME", help="Length of a clip: 4s, 1m.", show_default="4s")
    ] = None,
    fps: Annotated[str | None, typer.Option(metavar="RATE", help="Frames a second.", show_default="12")] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height, such as 128x128, or 480p.")] = "128x128",
    images: Annotated[bool, typer.Option("--images", help="Pictures of the first frame instead of videos.")] = False,
    objects: Annotated[
        int | None, typer.Option(min=1, max=3, metavar="N", help="Objects in a scene.", show_default="1 to 3, drawn")
    ] = None,
    caption: Annotated[
        Literal["short", "long", "both"],
        typer.Option(help="Captions in the .txt files; both: half of the scenes short, half long."),
    ] = "both",
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet", help="Also make one picture of the scenes: DIR-contact-sheet.png.")
    ] = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Render scenes with captions (.txt) and where everything is in every frame (.json), ready for sora clips index.

    The same command again renders only what is missing.
    """
    if images and (seconds or fps):
        raise UsageError("--images are single frames; leave out --seconds and --fps, or --images")
    height, width = parse_size(size)
    length, rate = parse_seconds(seconds or "4s"), parse_fps(fps or "12")

    from soracli.pipelines.render_world import WorldOptions, missing_scenes, render_world
    from soracli.training.device import choose_device

    reporter = TerminalReporter()
    options = WorldOptions(
        seed=seed,
        split=split,
        images=images,
        seconds=length,
        fps=rate,
        height=height,
        width=width,
        num_objects=objects,
        caption=caption,
    )
    shape = f"{'pictures' if images else f'clips of {options.num_frames} frames'}, {width}x{height}"
    if dry_run:
        choose_device(device)
        missing = missing_scenes(out, options, range(start, start + count), overwrite=overwrite)
        reporter.note(f"would render {len(missing)} {shape}, to {out}; {count - len(missing)} are there")
        if json:
            print_json({"folder": out, "would_render": missing, "frames": options.num_frames})
        return
    summary = render_world(
        out,
        options,
        count=count,
        start=start,
        device=device,
        contact_sheet=contact_sheet,
        overwrite=overwrite,
        reporter=reporter,
    )
    reporter.note(f"{len(summary.rendered)} {shape}, rendered; {len(summary.kept)} were there")
    if summary.contact_sheet:
        reporter.note(f"contact sheet: {summary.contact_sheet}")
    if json:
        print_json(
            {
                "folder": summary.folder,
                "metadata": summary.metadata,
                "rendered": summary.rendered,
                "kept": summary.kept,
                "frames": summary.num_frames,
                "contact_sheet": summary.contact_sheet,
            }
        )
    else:
        print_result(summary.folder)
