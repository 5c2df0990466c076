"""Who makes which shard, where several processes cache into one folder at once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soracli.core.errors import MachineError


@contextmanager
def claim(folder: Path, name: str) -> Iterator[bool]:
    """Whether this process is the one that makes a shard, until the block ends.

    A claim is a lock on one byte of the file ``claims``, at a place that the name decides: the kernel, or the server of
    a shared file system, drops it with the process. Where there are no locks everyone has every claim, and a shard
    that two make at once has the same content from both.

    Args:
        folder: The cache.
        name: Of the shard, of ``shard_name``.

    Raises:
        MachineError: If the folder cannot be written.
    """
    place = int.from_bytes(name.encode()[:7], "big")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "claims").open("a+b")
    except OSError as error:
        raise MachineError(f"cannot write {folder}: {error.strerror}") from error
    with file:  # closing it drops the claim
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            yield False
            return
        except OSError:
            pass
        yield True
