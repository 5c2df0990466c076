"""Walking a folder for clips, captions and metadata files; links that lead out of the folder are not followed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from soracli.data.captions import METADATA_NAMES

CLIP_SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".mj2", ".ogv"),
        *(".flv", ".wmv", ".asf", ".3gp", ".y4m", ".mxf", ".gif", ".webp", ".png", ".apng", ".jpg", ".jpeg", ".bmp"),
    }
)
"""Suffixes, in lower case, of files that are taken for clips."""


@dataclass
class FoundFiles:
    """What a folder holds; names are relative to it, with forward slashes, sorted.

    Attributes:
        clips: Files that look like clips.
        texts: Caption files (.txt).
        metadata: ``metadata.jsonl`` and ``metadata.csv`` files.
        ignored: How many other files there are; hidden and unfinished (``.part``) ones are not counted.
        problems: Name and reason of what cannot be used.
    """

    clips: list[str] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)
    metadata: list[str] = field(default_factory=list)
    ignored: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


def find_clip_files(folder: Path) -> FoundFiles:
    """Everything under a folder, sorted by path.

    Hidden files and folders and unfinished ``NAME.part.SUFFIX`` files are passed over.
    """
    found = FoundFiles()
    root = folder.resolve()

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename or folder, folder)
        found.problems.append((_printable(name), (error.strerror or str(error)).lower()))

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        for name in [name for name in folders if (Path(parent) / name).is_symlink()]:
            path = Path(parent) / name
            if not path.resolve().is_relative_to(root):
                found.problems.append((_relative(path, folder), "is a link out of the folder; not followed"))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and ".part" not in Path(name).suffixes[-2:-1]:
                _sort_in(Path(parent) / name, folder, root, found)
    for names in (found.clips, found.metadata):
        names.sort()
    return found


def _sort_in(path: Path, folder: Path, root: Path, found: FoundFiles) -> None:
    suffix = path.suffix.lower()
    text = suffix == ".txt" or path.name in METADATA_NAMES
    if not text and suffix not in CLIP_SUFFIXES:
        found.ignored += 1
        return
    name = _relative(path, folder)
    if name != path.relative_to(folder).as_posix():
        found.problems.append((name, "its name is not UTF-8; rename it"))
        return
    if path.is_symlink():
        reason = _bad_link(path, root)
        if reason:
            found.problems.append((name, reason))
            return
    if reason := _no_file(path):
        found.problems.append((name, reason))
    elif path.name in METADATA_NAMES:
        found.metadata.append(name)
    elif suffix == ".txt":
        found.texts.add(name)
    else:
        found.clips.append(name)


def _bad_link(path: Path, root: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "is a link to nothing"
    return "" if target.is_relative_to(root) else "is a link out of the folder; not followed"


def _no_file(path: Path) -> str:
    """Why something is not opened at all: reading from a pipe may wait for ever, and from a device never end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "" if stat.S_ISREG(mode) else "is no ordinary file (a pipe, socket or device)"


def _relative(path: Path, folder: Path) -> str:
    return _printable(path.relative_to(folder).as_posix())


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
