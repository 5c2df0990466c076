"""Make clips out of photographs: pans, zooms, turns, hand-held ones, and things that move in front with parallax.

Usage: pan_photographs.py PHOTOGRAPHS CLIPS [--each 5] [--size 256x256] [--frames 49] [--fps 12] [--seed 0]

PHOTOGRAPHS is what fetch_photographs.sh made: pictures/ and cutouts/, each with a metadata.jsonl; your own pictures do
as well. Every photograph gives ``--each`` clips; two in five have cut-outs in front, which move with the camera and on
their own. A clip is in the split of its photograph and shows only cut-outs of that split, so what is validated was
never trained on. Every frame is resampled from the full picture at twice the size and averaged down; one clip in seven
has the motion blur of an open shutter.

The same command again makes only what is missing: what a clip shows depends on seed, photograph and number alone.
Then: ``sora clips index CLIPS``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from camera_moves import Path2D, View, draw_path, draw_view
from clip_output import write_clip, write_metadata
from numpy.typing import NDArray
from PIL import Image

SUPERSAMPLING = 2
CUTOUT_SHARE = 0.4
BLUR_SHARE = 0.15
SHUTTER = 0.5
SHUTTER_MOMENTS = 4

Record = dict[str, str]


@dataclass(frozen=True)
class Picture:
    """A picture on disk with what its metadata says."""

    path: Path
    caption: str
    split: str


@dataclass(frozen=True)
class Scene:
    """What a clip shows: a camera over a photograph, and cut-outs in front of it, the farthest first.

    ``moments`` are the instants of one frame that are averaged; the arrays of ``view`` and paths have ``frames`` times
    as many.
    """

    view: View
    things: tuple[tuple[Picture, Path2D], ...]
    moments: int
    caption: str


def read_pictures(folder: Path) -> list[Picture]:
    """The pictures that a folder's metadata.jsonl names, by name."""
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines if line.strip()]
    pictures = [Picture(folder / r["file_name"], r.get("caption", ""), r.get("split") or "train") for r in records]
    return sorted((picture for picture in pictures if picture.path.is_file()), key=lambda picture: picture.path.name)


def draw_scene(
    rng: np.random.Generator,
    photograph: tuple[int, int],
    size: tuple[int, int],
    frames: int,
    fps: float,
    caption: str,
    cutouts: list[Picture],
) -> Scene:
    """Draw what a clip shows; ``photograph`` and ``size`` are (W, H) in pixels, ``caption`` is the photograph's."""
    moments = SHUTTER_MOMENTS if rng.uniform() < BLUR_SHARE else 1
    seconds = np.add.outer(np.arange(frames), SHUTTER * np.arange(moments) / moments).ravel() / fps
    view = draw_view(rng, photograph, size, seconds)
    count = int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1))) if cutouts and rng.uniform() < CUTOUT_SHARE else 0
    chosen = [cutouts[index] for index in rng.choice(len(cutouts), size=min(count, len(cutouts)), replace=False)]
    things = tuple((cutout, draw_path(rng, seconds, view, size, _largest(cutout, size))) for cutout in chosen)
    said = [f"{cutout.caption} {path.words}" for cutout, path in reversed(things)]
    shown = f"{' and '.join(said)} in front of {caption}" if said else caption
    return Scene(view, things, moments, ", ".join(part for part in (shown, view.words) if part))


def _largest(cutout: Picture, size: tuple[int, int]) -> float:
    """Width of a cut-out as a share of the frame's: at most what its own pixels give, and two thirds of either side."""
    with Image.open(cutout.path) as picture:
        width, height = picture.size
    return min(width / size[0], 0.66, 0.66 * size[1] / size[0] * width / height)


def render(scene: Scene, photograph: Image.Image, size: tuple[int, int], frames: int) -> Iterator[NDArray[np.uint8]]:
    """The frames of a scene, uint8 ``(H, W, 3)``.

    Args:
        scene: What is shown.
        photograph: The whole picture, RGB.
        size: ``(W, H)`` of the clip.
        frames: How many.
    """
    fine = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
    view = scene.view
    # Scaled down once so that the widest view has one pixel of it for each fine pixel: what is finer would flicker.
    scale = min(1.0, fine[0] / float(view.width.max()))
    ground = _scaled(photograph, scale)
    ratio = (ground.width / photograph.width, ground.height / photograph.height)
    layers = [(_scaled_cutout(cutout, path, fine[0]), path) for cutout, path in scene.things]
    for first in range(0, frames * scene.moments, scene.moments):
        instants = []
        for k in range(first, first + scene.moments):
            step = float(view.width[k]) / fine[0]
            middle = (float(view.x[k]) * ratio[0], float(view.y[k]) * ratio[1])
            matrix = _affine(fine, middle, step * ratio[0], float(view.angle[k]))
            fine_frame = ground.transform(fine, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
            for layer, path in layers:
                _put(fine_frame, layer, path, k)
            instants.append(np.asarray(fine_frame.reduce(SUPERSAMPLING)))
        yield instants[0] if len(instants) == 1 else np.rint(np.stack(instants).mean(axis=0)).astype(np.uint8)


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _scaled_cutout(cutout: Picture, path: Path2D, fine_width: int) -> Image.Image:
    """A cut-out at the largest width that it will have, RGBA."""
    with Image.open(cutout.path) as picture:
        return _scaled(picture.convert("RGBA"), float(path.width.max()) * fine_width / picture.width)


def _affine(size: tuple[int, int], middle: tuple[float, float], step: float, angle: float) -> tuple[float, ...]:
    """Pillow's matrix, from a place in a frame to one in a source, for a view of ``step`` source pixels a pixel."""
    cos, sin = step * math.cos(angle), step * math.sin(angle)
    left, top = size[0] / 2, size[1] / 2
    return (cos, -sin, middle[0] - cos * left + sin * top, sin, cos, middle[1] - sin * left - cos * top)


def _put(frame: Image.Image, layer: Image.Image, path: Path2D, k: int) -> None:
    """Draw a cut-out onto a frame at moment ``k``: only the box that it covers."""
    width = float(path.width[k]) * frame.width
    angle, step = float(path.angle[k]), layer.width / width
    reach = math.hypot(layer.width, layer.height) / step / 2 + 2
    x, y = float(path.x[k]) * frame.width, float(path.y[k]) * frame.height
    left, top = max(0, math.floor(x - reach)), max(0, math.floor(y - reach))
    right, bottom = min(frame.width, math.ceil(x + reach)), min(frame.height, math.ceil(y + reach))
    if left >= right or top >= bottom:
        return
    box = (right - left, bottom - top)
    # Where the middle of the box lies in the cut-out.
    across, down = (left + right) / 2 - x, (top + bottom) / 2 - y
    cos, sin = step * math.cos(-angle), step * math.sin(-angle)
    middle = (layer.width / 2 + cos * across - sin * down, layer.height / 2 + sin * across + cos * down)
    drawn = layer.transform(box, Image.Transform.AFFINE, _affine(box, middle, step, -angle), Image.Resampling.BICUBIC)
    frame.paste(drawn, (left, top), drawn)


def rng_of(seed: int, name: str, number: int) -> np.random.Generator:
    """The generator of one clip, the same everywhere."""
    digest = hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def make_clips(source: Path, target: Path, each: int, size: tuple[int, int], frames: int, fps: float, seed: int) -> int:
    """Make what is missing; tells on stderr how many clips there are then, and gives that number."""
    pictures = read_pictures(source / "pictures")
    has_cutouts = (source / "cutouts" / "metadata.jsonl").is_file()
    cutouts = read_pictures(source / "cutouts") if has_cutouts else []
    target.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    made = 0
    for picture in pictures:
        allowed = [cutout for cutout in cutouts if cutout.split == picture.split]
        with Image.open(picture.path) as opened:
            if opened.width < size[0] or opened.height < size[1]:
                print(f"smaller than a clip, left out: {picture.path.name}", file=sys.stderr)
                continue
            photograph: Image.Image | None = None
            for number in range(each):
                name = f"{picture.path.stem}-{number}.mp4"
                rng = rng_of(seed, picture.path.stem, number)
                scene = draw_scene(rng, opened.size, size, frames, fps, picture.caption, allowed)
                if not (target / name).is_file():
                    photograph = photograph or opened.convert("RGB")
                    write_clip(target / name, render(scene, photograph, size, frames), size, fps)
                    made += 1
                records.append({"file_name": name, "caption": scene.caption, "split": picture.split})
        # After every photograph, so that a run that was stopped can be indexed as it is.
        write_metadata(target, records)
    validation = sum(record["split"] == "validation" for record in records)
    print(
        f"{len(records)} clips ({validation} for validation) of {len(pictures)} photographs, {made} new",
        file=sys.stderr,
    )
    return len(records)


def main(arguments: list[str]) -> int:
    """Make the clips; the folder of the clips goes to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS")
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--each", type=int, default=5, metavar="N", help="clips of every photograph")
    parser.add_argument("--size", default="256x256", metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=49, metavar="N")
    parser.add_argument("--fps", type=float, default=12.0, metavar="RATE")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    said = parser.parse_args(arguments)
    width, cross, height = said.size.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 16):
        parser.error(f"--size must be WIDTHxHEIGHT of at least 16x16, got {said.size}")
    if said.each < 1 or said.frames < 2 or said.fps <= 0:
        parser.error("--each must be at least 1, --frames at least 2 and --fps above 0")
    if not (said.photographs / "pictures" / "metadata.jsonl").is_file():
        parser.error(
            f"{said.photographs}: no pictures/metadata.jsonl; make it: fetch_photographs.sh {said.photographs}"
        )
    make_clips(said.photographs, said.clips, said.each, (int(width), int(height)), said.frames, said.fps, said.seed)
    print(said.clips)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
