"""Captions that lie beside clips: ``NAME.txt``, or ``metadata.jsonl`` / ``metadata.csv`` in the same folder.

A metadata file has a record for each clip with ``file_name`` (relative to its folder), ``caption`` or ``text``, and
optionally ``split`` (``train`` or ``validation``). A .txt beside the clip wins over metadata.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from soracli.data.manifest import Split

MAX_CAPTION: Final = 4096
"""Longest caption that is kept, in characters; longer ones are cut there and reported."""

METADATA_NAMES: Final = ("metadata.jsonl", "metadata.csv")

_MAX_TEXT_BYTES: Final = 16 << 20
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_SPLITS: Final[dict[str, Split]] = {"": "train", "train": "train", "validation": "validation"}


@dataclass(frozen=True)
class Caption:
    """Caption and split of one file."""

    text: str
    split: Split


@dataclass
class CaptionTable:
    """Captions of the files under one folder.

    Attributes:
        entries: By path relative to the folder, with forward slashes.
        problems: Path and reason of everything that was wrong with a caption or a metadata file.
    """

    entries: dict[str, Caption] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def clean_caption(text: str) -> tuple[str, str]:
    """A caption on one line, and what was wrong with it ("" if nothing).

    White space (line ends too) becomes single blanks; NUL, other control characters and halves of surrogate pairs are
    dropped; beyond ``MAX_CAPTION`` characters it is cut.
    """
    kept = " ".join(_CONTROL.sub("", text).split())
    if len(kept) > MAX_CAPTION:
        return kept[:MAX_CAPTION].rstrip(), f"caption of {len(kept)} characters cut to {MAX_CAPTION}"
    dropped = len(_CONTROL.findall(text))
    return kept, f"{dropped} control characters dropped from the caption" if dropped else ""


def read_caption_file(path: Path) -> tuple[str, str]:
    """Caption of a .txt file and what was wrong with it; a byte order mark and wrong UTF-8 do no harm."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_TEXT_BYTES)
    except OSError as error:
        return "", f"caption cannot be read: {(error.strerror or str(error)).lower()}"
    text = _decode(raw)
    caption, problem = clean_caption(text)
    if "�" in text:
        problem = "caption is not UTF-8; the wrong bytes became �"
    return caption, problem


def _decode(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    return raw.decode("utf-8-sig", "replace")


def read_metadata(path: Path, root: Path, table: CaptionTable) -> None:
    """Add the records of one metadata file to a table; wrong records are reported there by line and left out.

    Args:
        path: A ``metadata.jsonl`` or ``metadata.csv``.
        root: The folder that the table's paths start at; ``path`` lies in it or below.
        table: Where captions and problems go.
    """
    folder = PurePosixPath(path.relative_to(root).parent.as_posix())
    name = path.relative_to(root).as_posix()
    try:
        text = _decode(path.read_bytes())
    except OSError as error:
        table.problems.append((name, (error.strerror or str(error)).lower()))
        return
    for number, record in _records(path.suffix, text, name, table):
        file_name = record.get("file_name")
        if not isinstance(file_name, str) or not file_name.strip():
            table.problems.append((f"{name}:{number}", "has no file_name"))
            continue
        raw = record.get("caption", record.get("text")) or ""
        if not isinstance(raw, str):
            table.problems.append((f"{name}:{number}", f"caption must be text, got {raw!r:.50}"))
            continue
        caption, problem = clean_caption(raw)
        split = _SPLITS.get(str(record.get("split") or "").strip().lower())
        if split is None:
            problem = f"split must be train or validation, got {record['split']!r:.50}; taken as train"
        if problem:
            table.problems.append((f"{name}:{number}", problem))
        table.entries[str(folder / file_name.strip())] = Caption(caption, split or "train")


def _records(suffix: str, text: str, name: str, table: CaptionTable) -> Iterator[tuple[int, dict[str, Any]]]:
    if suffix == ".csv":
        rows = csv.DictReader(io.StringIO(text, newline=""))
        try:
            if not {"file_name"} <= set(rows.fieldnames or ()):
                table.problems.append((f"{name}:1", "must have the columns file_name and caption (or text)"))
                return
            for row in rows:
                yield rows.line_num, dict(row)
        except csv.Error as error:
            table.problems.append((f"{name}:{rows.line_num}", f"is no CSV, the rest is not read: {error}"))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            table.problems.append((f"{name}:{number}", f"is not JSON: {getattr(error, 'msg', 'cannot be read')}"))
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            table.problems.append((f"{name}:{number}", "must be a JSON object"))
