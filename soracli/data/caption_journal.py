"""Captions as they are written, a line each, so that whoever is killed loses none: one file for each process.

Torch-free. A line is whole or it does not count: the last one of a killed process may be torn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from soracli.core.files import machine_error
from soracli.core.json_text import parse_json
from soracli.data.manifest import Clip


@dataclass(frozen=True)
class Entry:
    """What became of one clip.

    Attributes:
        number: Its place in the manifest.
        text: Its caption; "" if there is none.
        confidence: As ``Clip.caption_confidence``.
        remark: What was done to the caption.
        problem: Why there is none.
    """

    number: int
    text: str = ""
    confidence: float = 0.0
    remark: str = ""
    problem: str = ""


def journal_folder(out: Path, clips: Sequence[Clip], record: Mapping[str, Any]) -> Path:
    """Where journals of captions lie: beside the manifest that they become, under the hash of all that decides them."""
    decides = json.dumps([[clip.clip_id for clip in clips], record], sort_keys=True, ensure_ascii=False)
    return out.with_suffix(".captions") / hashlib.sha256(decides.encode()).hexdigest()[:32]


@contextmanager
def open_journal(folder: Path, name: str) -> Iterator[TextIO]:
    """Go on with the journal of one process.

    Raises:
        MachineError: If the folder cannot be written.
    """
    path = folder / f"{name}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            # After a torn line the next one would be torn too.
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        with path.open("a", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise machine_error(error, path, "cannot write") from error


def write_entry(journal: TextIO, entry: Entry) -> None:
    """Add one line, in the file when this returns."""
    journal.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
    journal.flush()


def read_journals(folder: Path, *, with_problems: bool = True) -> dict[int, Entry]:
    """All entries of all processes by number; of several of one clip one with a caption.

    Args:
        folder: Of ``journal_folder``; need not be there.
        with_problems: Whether clips without a caption count.
    """
    found: dict[int, Entry] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            with suppress(ValueError, TypeError):
                entry = Entry(**parse_json(line))
                if entry.text or (with_problems and entry.number not in found):
                    found[entry.number] = entry
    return found
