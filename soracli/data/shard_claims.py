"""Who makes which shard, where several processes fill one cache at once.

A claim is a lock on one byte of ``latents/lock``, at a place that the shard's name decides. The kernel drops it when
the process dies, however it dies, so nothing stale is ever left; the file itself stays, empty.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from soracli.core.files import machine_error


@contextmanager
def open_claims(folder: Path) -> Iterator[TextIO]:
    """The file that claims of a cache are made in; one a process, since closing it drops them all.

    Args:
        folder: The cache; made if it is not there.

    Raises:
        MachineError: If it cannot be made or written.
    """
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise machine_error(error, path, "cannot write") from error
    with file:
        yield file


@contextmanager
def claimed(claims: TextIO, name: str) -> Iterator[bool]:
    """Claim a shard while open.

    Args:
        claims: Of ``open_claims``.
        name: Of the shard.

    Yields:
        Whether it is ours; False if another process is making it. On a file system without locks everything is ours.
    """
    place = int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)
    is_ours = True
    try:
        fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError as error:
        is_ours = error.errno not in (errno.EACCES, errno.EAGAIN)
    try:
        yield is_ours
    finally:
        if is_ours:
            with suppress(OSError):
                fcntl.lockf(claims, fcntl.LOCK_UN, 1, place)
