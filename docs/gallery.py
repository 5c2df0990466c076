"""Make docs/gallery.md and its pictures: every verb on a scene of the world, an emoji and a real clip.

Run in the root of a checkout where ``sora`` is installed, with the material of docs/material.md:

    python docs/gallery.py --emoji emoji/clips --film film/clips [--model MODEL]

Each command is run as it is printed, with the shipped weights unless ``--model`` says otherwise, in a few minutes on
two CPU cores. Nothing is chosen among several results: every seed is 0.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image

from soracli.data.image_write import write_contact_sheet

DOCS = Path(__file__).parent
COLUMNS, CELL = 10, 96
INPUTS = ("world.mp4", "emoji.webp", "real.mkv")


@dataclass(frozen=True)
class Verb:
    """A section of the page: what it is, and its commands, each of which ends with the file it makes."""

    name: str
    text: str
    commands: tuple[str, ...]


def on_each(command: str, name: str, inputs: Sequence[str] = INPUTS) -> tuple[str, ...]:
    """The command with each input in place of ``{}``."""
    return tuple(f"{command.format(path)} --seed 0 --out {name}-{path.partition('.')[0]}.mp4" for path in inputs)


VERBS = (
    Verb(
        "Given",
        "What the other commands are given: a scene of the world and an animated emoji that were not trained on, and "
        "camera footage of people, of which the model has seen nothing.",
        (),
    ),
    Verb(
        "sora generate",
        "From a prompt alone.",
        (
            'sora generate "a red ball bounces on green grass" --seed 0 --out prompt.mp4',
            'sora generate "a large yellow cube and a small blue cone stand on sand" --seed 0 --out prompt-2.mp4',
            'sora generate "panda" --seed 0 --out prompt-3.mp4',
        ),
    ),
    Verb(
        "sora generate --prompt-at",
        "Another prompt from the fourth second on.",
        (
            'sora generate "a red ball rolls on green grass" --prompt-at 4s "a blue ball rolls on green grass" '
            "--seconds 8s --seed 0 --out prompts.mp4",
        ),
    ),
    Verb(
        "sora generate --image",
        "A picture set in motion: the first frame is given.",
        on_each("sora generate --image {}", "image", ("world.png", "emoji.png", "real.png")),
    ),
    Verb(
        "sora extend",
        "The first frames are given, the last two seconds are made.",
        on_each("sora extend {} --seconds 2s", "extend"),
    ),
    Verb(
        "sora extend --backward",
        "The first two seconds are made.",
        on_each("sora extend {} --backward --seconds 2s", "backward"),
    ),
    Verb(
        "sora connect",
        "What leads from one video to another.",
        (
            "sora connect world.mp4 world-2.mp4 --seed 0 --out connect-world.mp4",
            "sora connect emoji.webp emoji-2.webp --seed 0 --out connect-emoji.mp4",
            "sora connect real.mkv real-2.mkv --seed 0 --out connect-real.mp4",
        ),
    ),
    Verb("sora loop", "The end runs into the beginning.", on_each("sora loop {}", "loop")),
    Verb(
        "sora edit",
        "By an instruction.",
        (
            'sora edit world.mp4 "make the ball blue" --seed 0 --out edit-world.mp4',
            'sora edit world.mp4 "reverse the motion" --seed 0 --out edit-world-2.mp4',
            'sora edit emoji.webp "make it blue" --seed 0 --out edit-emoji.mp4',
            'sora edit real.mkv "make it blue" --seed 0 --out edit-real.mp4',
        ),
    ),
    Verb(
        "sora edit --strength",
        "Made anew from its own frames under noise.",
        (
            'sora edit world.mp4 "a green cube slides on sand" --strength 0.7 --seed 0 --out strength-world.mp4',
            'sora edit emoji.webp "tiger face" --strength 0.7 --seed 0 --out strength-emoji.mp4',
            'sora edit real.mkv "a street at night" --strength 0.4 --seed 0 --out strength-real.mp4',
        ),
    ),
    Verb("sora redo", "Its second second is made anew, the rest is as it was.", on_each("sora redo {} 1s:2s", "redo")),
)


def main() -> None:
    """Run all commands and write page and pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--emoji", type=Path, required=True, help="folder of recipes/nano/fetch_emoji.sh's clips")
    parser.add_argument("--film", type=Path, required=True, help="folder of recipes/base/fetch_film.sh's clips")
    parser.add_argument("--model", help="instead of the shipped weights")
    given = parser.parse_args()
    page = [
        "# Gallery\n\nEvery verb of `sora`, one command each, with the shipped weights at their defaults. Ten frames "
        "of each video from the first to the last. Nothing is picked: every seed is 0. What falls apart, and why: the "
        "[card](../soracli/weights/nano/README.md). `python docs/gallery.py` makes this page.\n"
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, given)
        for verb in VERBS:
            rows = [(path, frames_of(folder / path)) for path in INPUTS] if not verb.commands else []
            for command in verb.commands:
                print(command, file=sys.stderr)
                model = [] if given.model is None else ["--model", given.model]
                subprocess.run([*shlex.split(command), *model], cwd=folder, check=True)
                made = command.split()[-1]
                rows.append((command.removesuffix(f" --seed 0 --out {made}"), frames_of(folder / made)))
            picture = DOCS / "images" / f"gallery-{verb.name.removeprefix('sora ').replace(' --', '-').lower()}.jpg"
            draw(picture, rows)
            shown = "".join(f"{command}\n" for command in verb.commands)
            page.append(f"## {verb.name}\n\n{verb.text}\n\n" + (f"```sh\n{shown}```\n\n" if shown else ""))
            page[-1] += f"![{verb.name}](images/{picture.name})\n"
    (DOCS / "gallery.md").write_text("\n".join(page))


def prepare(folder: Path, given: argparse.Namespace) -> None:
    """Put what is given into the folder."""
    scenes = "sora world render --count 2 --split held_out --seed 3 --objects 1 --out world"
    subprocess.run(shlex.split(scenes), cwd=folder, check=True)
    first, second = sorted((folder / "world").glob("*.mp4"))
    shutil.copy(first, folder / "world.mp4")
    shutil.copy(second, folder / "world-2.mp4")
    shutil.copy(given.emoji / "1f98a.webp", folder / "emoji.webp")
    shutil.copy(given.emoji / "1f43a.webp", folder / "emoji-2.webp")
    shutil.copy(given.film / "walker.mkv", folder / "real.mkv")
    shutil.copy(given.film / "cyclist.mkv", folder / "real-2.mkv")
    for path in INPUTS:
        Image.fromarray(frames_of(folder / path)[0]).save(folder / f"{path.partition('.')[0]}.png")


def frames_of(path: Path) -> np.ndarray:
    """``(T, H, W, 3)`` of a small video."""
    return np.stack([frame[..., :3] for frame in iio.imiter(path)])


def draw(picture: Path, rows: list[tuple[str, np.ndarray]]) -> None:
    """A contact sheet as JPEG, which is a fifth of the PNG."""
    draft = picture.with_suffix(".png")
    write_contact_sheet(draft, rows, columns=COLUMNS, cell_height=CELL)
    Image.open(draft).convert("RGB").save(picture, quality=85, optimize=True)
    draft.unlink()


if __name__ == "__main__":
    main()
