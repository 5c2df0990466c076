"""Which file each generated video goes to; torch-free.

Without a name the current folder gets ``PROMPT-SEED.mp4``, ``-2`` if that is taken. A name with a suffix is that very
file, or ``NAME-1.mp4``, ``NAME-2.mp4`` and so on for several videos; a file that exists is then an error. A name
without a suffix is a folder: its files are named after prompt and seed, and one that holds the very video asked for is
kept.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soracli.core.errors import UsageError
from soracli.core.files import part_name
from soracli.data.video_record import read_record

_LONGEST_NAME = 60
_LONGEST_BYTES = 180  # file systems take 255, and "-2", ".part" and suffixes follow
_MADE_WITH = frozenset({"dtype", "device", "sora"})
"""What a file says of the machine that made it, which nobody asks for."""


@dataclass(frozen=True)
class Output:
    """A file to be made.

    Attributes:
        path: Its final name.
        is_made: Whether it is there already, made with the same settings.
    """

    path: Path
    is_made: bool = False


def output_files(
    records: Sequence[Mapping[str, Any]], out: Path | None, *, overwrite: bool, contact_sheet: bool
) -> list[Output]:
    """Where each video goes.

    Args:
        records: What makes each video, with ``prompt`` (where that is empty, ``image``) and ``seed``.
        out: What the user named.
        overwrite: Whether what exists may be replaced.
        contact_sheet: Whether each video gets a picture beside it, which must be free too.

    Raises:
        UsageError: If a named file exists.
    """
    if out is not None and out.suffix and not out.is_dir():
        return _named(out, len(records), overwrite, contact_sheet)
    folder = out or Path()
    chosen: list[Output] = []
    planned: set[Path] = set()

    def is_taken(path: Path) -> bool:
        # In the current folder somebody else may be writing the part; in a folder of its own it is left from a stop.
        parts = [part_name(path)] if out is None else []
        sheets = [sheet_name(path)] if contact_sheet else []
        return any(map(os.path.lexists, [path, *parts, *sheets]))

    for record in records:
        chosen.append(_free(record, folder, planned, is_taken, overwrite=overwrite, keep=out is not None))
        planned.add(chosen[-1].path)
    return chosen


def _named(out: Path, count: int, overwrite: bool, contact_sheet: bool) -> list[Output]:
    paths = (
        [out] if count == 1 else [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, count + 1)]
    )
    for path in [*paths, *(map(sheet_name, paths) if contact_sheet else ())]:
        if os.path.lexists(path) and not overwrite:
            raise UsageError(f"{path} exists; give another name, or --overwrite")
    return [Output(path) for path in paths]


def _free(
    record: Mapping[str, Any],
    folder: Path,
    planned: set[Path],
    is_taken: Callable[[Path], bool],
    *,
    overwrite: bool,
    keep: bool,
) -> Output:
    named_after = str(record["prompt"]) or Path(str(record.get("image", ""))).stem
    stem, number = f"{prompt_name(named_after)}-{record['seed']}", 1
    while True:
        path = folder / (f"{stem}.mp4" if number == 1 else f"{stem}-{number}.mp4")
        number += 1
        if path in planned:
            continue
        if overwrite or not is_taken(path):
            return Output(path)
        if keep and path.is_file() and made_by(path, record):
            return Output(path, is_made=True)


def made_by(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether a video says of itself what ``record`` says, and nothing more of what decides its frames."""
    found = read_record(path)
    more = found.keys() - record.keys() - _MADE_WITH
    return not more and all(found.get(key) == value for key, value in record.items())


def sheet_name(path: Path) -> Path:
    """The contact sheet beside a video."""
    return path.with_name(f"{path.stem}-contact-sheet.png")


def grid_output(outputs: Sequence[Output], record: Mapping[str, Any], out: Path | None, *, overwrite: bool) -> Output:
    """Where the grid of several videos goes: ``NAME-grid.mp4``, or after the first of them in a folder.

    Args:
        outputs: The videos, at least two.
        record: What the grid will say of itself.
        out: What the user named.
        overwrite: Whether what exists may be replaced.

    Raises:
        UsageError: If a file was named and the grid beside it exists.
    """
    if out is not None and out.suffix and not out.is_dir():
        path = out.with_name(f"{out.stem}-grid{out.suffix}")
        if os.path.lexists(path) and not overwrite:
            raise UsageError(f"{path} exists; give another name, or --overwrite")
        return Output(path)
    first, number = outputs[0].path, 1
    while True:
        path = first.with_name(f"{first.stem}-grid{'' if number == 1 else f'-{number}'}{first.suffix}")
        number += 1
        if overwrite or not os.path.lexists(path):
            return Output(path)
        if out is not None and path.is_file() and made_by(path, record):
            return Output(path, is_made=True)


def prompt_name(prompt: str) -> str:
    """A prompt as the beginning of a file's name: letters and digits of any script, at most 60; never empty."""
    letters = unicodedata.normalize("NFKC", prompt[:1000]).lower()
    name = re.sub(r"[^\w]+|_+", "-", letters).strip("-")
    if len(name) > _LONGEST_NAME:
        name = name[:_LONGEST_NAME].rpartition("-")[0] or name[:_LONGEST_NAME]
    return name.encode()[:_LONGEST_BYTES].decode("utf-8", "ignore") or "video"
