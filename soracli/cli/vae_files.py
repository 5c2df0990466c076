"""``sora vae encode`` and ``sora vae decode``: video files to files of latents and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import DeviceOption, DryRunOption, JsonOption, OverwriteOption
from soracli.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from soracli.pipelines.plan_tiles import Tile

ModelOption = Annotated[
    str, typer.Option("--model", metavar="MODEL", help="nano, a VAE's folder, a model folder, or a finished run.")
]
ChunkFramesOption = Annotated[
    int,
    typer.Option("--chunk-frames", min=1, metavar="N", help="Frames computed at once: memory against speed."),
]
TileOption = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="PIXELS",
        help="Cut larger frames into tiles with this side; auto: as memory wants, off: never.",
    ),
]
TileOverlapOption = Annotated[
    int | None,
    typer.Option(
        "--tile-overlap",
        min=0,
        metavar="PIXELS",
        help="Less is faster, blended, and says its error.",
        show_default="all that the VAE sees, which is exact",
    ),
]


def encode(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, animation or picture of any size.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The latents, as safetensors.")],
    model: ModelOption = "nano",
    chunk_frames: ChunkFramesOption = 16,
    tile: TileOption = "auto",
    tile_overlap: TileOverlapOption = None,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="Of the stored latents: float32, or float16 in half the space.")
    ] = "float32",
    background: Annotated[
        str, typer.Option(metavar="COLOUR", help="Under transparent parts: a name, or '#80c0ff'.")
    ] = "white",
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Encode a video of any length in constant memory. sora vae decode gives back its very size, rate and length.

    Its sound is not kept.
    """
    given: dict[str, Any] = {"chunk_frames": chunk_frames, "tile": _parse_tile(tile), "tile_overlap": tile_overlap}
    colour = _parse_colour(background)
    from soracli.pipelines.find_model import find_model
    from soracli.pipelines.plan_encode import plan_encode

    given |= {"model": find_model(model), "out": out, "overwrite": overwrite, "device": device}
    given |= {"dtype": dtype, "background": colour}
    if dry_run:
        _show_facts(plan_encode(video, **given).facts(), json)
        return
    from soracli.pipelines.encode_file import encode_file

    _show_file("latents", encode_file(video, **given, reporter=TerminalReporter()), json)


def decode(
    latents: Annotated[Path, typer.Argument(metavar="LATENTS", help="What sora vae encode wrote.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="VIDEO", help="A .mp4, .mkv, .mov, .webm, .gif or .webp; .png for one frame."
        ),
    ],
    model: ModelOption = "nano",
    chunk_frames: ChunkFramesOption = 16,
    tile: TileOption = "auto",
    tile_overlap: TileOverlapOption = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Decode latents of any length in constant memory, with the VAE that made them."""
    given: dict[str, Any] = {"chunk_frames": chunk_frames, "tile": _parse_tile(tile), "tile_overlap": tile_overlap}
    from soracli.pipelines.find_model import find_model
    from soracli.pipelines.plan_decode import plan_decode

    given |= {"model": find_model(model), "out": out, "overwrite": overwrite, "device": device}
    if dry_run:
        _show_facts(plan_decode(latents, **given).facts(), json)
        return
    from soracli.pipelines.decode_file import decode_file

    _show_file("video", decode_file(latents, **given, reporter=TerminalReporter()), json)


def _parse_tile(text: str) -> Tile:
    words = text.strip().lower().removesuffix("px")
    if words == "auto":
        return "auto"
    if words == "off":
        return "off"
    if words.isascii() and words.isdecimal() and int(words) > 0:
        return int(words)
    guess = nearest(words, ["auto", "off"])
    raise UsageError(
        f"--tile {text!r} is no side in pixels, auto or off; {f'did you mean {guess}?' if guess else 'try 512'}"
    )


def _parse_colour(text: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getcolor(text.strip(), "RGB")  # type: ignore[misc]
    except ValueError:
        near = nearest(text.strip().lower(), ImageColor.colormap)
        hint = f"did you mean {near}?" if near else "write a name such as white, or '#80c0ff'"
        raise UsageError(f"--background {text!r} is no colour; {hint}") from None
    return red, green, blue


def _show_facts(facts: Mapping[str, Any], json: bool) -> None:
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        print_result(f"{name.replace('_', ' ')}: {_in_words(value)}")


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return "none" if value is None else str(value)


def _show_file(kind: str, path: Path, json: bool) -> None:
    if json:
        print_json({kind: path})
    else:
        print_result(path)
