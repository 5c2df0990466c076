"""Files that are whole or not there: hashes, atomic writes, free names and free space."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soracli.core.errors import MachineError


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits, in constant memory.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def machine_error(error: OSError, path: Path, doing: str) -> MachineError:
    """An operating system's refusal in one line.

    Args:
        error: What the system said.
        path: The file or folder it said it about.
        doing: What was being done, as in ``cannot write``.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"{doing} {path}: the disk is full; free some space there or choose another folder")
    return MachineError(f"{doing} {path}: {(error.strerror or str(error)).lower()}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; file systems that cannot are left alone."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def finish_file(part: Path, path: Path) -> None:
    """Give a finished temporary file its final name and mode: fsync, rename, fsync of the folder.

    Args:
        part: The whole file under its temporary name, in the same folder as ``path``.
        path: The final name; an existing file is replaced in one step.

    Raises:
        OSError: If the system refuses.
    """
    apply_umask(part)
    handle = os.open(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(part, path)
    sync_folder(path.parent)


def apply_umask(path: Path) -> None:
    """Let those read a file whom the umask allows; mkstemp and safetensors make files for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text so that the file is the old one or the whole new one, also after a power cut.

    Args:
        path: Final name; missing parent folders are made.
        text: The content.

    Raises:
        MachineError: If the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(path) as part:
            part.write_bytes(text.encode("utf-8"))
            finish_file(part, path)
    except OSError as error:
        raise machine_error(error, path, "cannot write") from error


def write_json_atomic(path: Path, values: Any) -> None:
    """Write plain values as indented JSON with a final newline, as ``write_text_atomic`` does.

    Raises:
        MachineError: If the disk is full, or the folder cannot be written.
    """
    write_text_atomic(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def free_name(path: Path) -> Path:
    """The path itself if nothing has that name, else the first free of ``name-2.mp4``, ``name-3.mp4`` and so on.

    A file still being written under ``name.part.mp4`` takes the name too.
    """
    candidate, number = path, 1
    while os.path.lexists(candidate) or os.path.lexists(part_name(candidate)):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def part_name(path: Path) -> Path:
    """Where a file is written until it is whole: ``name.mp4`` gives ``name.part.mp4``."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


def check_free_disk(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse early when a disk has too little room.

    Args:
        folder: Where will be written; it need not exist yet.
        needed_bytes: How much is wanted.
        what: What it is for, as in ``the latents``.

    Raises:
        MachineError: If less is free; names both figures.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise MachineError(
            f"{what} needs {needed_bytes / 2**30:.2f} GiB at {folder}, {free / 2**30:.2f} GiB are free; "
            "free some space there or choose another folder"
        )
