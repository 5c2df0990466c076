"""Who failed first, of ranks that fail together.

A rank that dies or leaves breaks the others' next transfer, and all they see is a closed connection. So every rank that
leaves with an error first writes a line where the others can read it: the key-value store through which they found one
another, which outlives the transfers. Whoever finds a transfer broken reads those lines: one that is no mere echo is
the cause, and a rank that wrote none is the one that died or hangs.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist

from soracli.core import errors
from soracli.core.errors import MachineError, RecipeError, SoraError

PATIENCE = 5.0
"""Seconds in which ranks that still live are expected to have noticed and written their line."""


class LastWords:
    """The lines of all ranks; made together, before anything can go wrong."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        """Say where this rank is, so that others can name it when it says nothing more; ``store`` is torch's."""
        self._store = dist.PrefixStore("last words", store)  # type: ignore[attr-defined]
        self._rank, self._others = rank, [other for other in range(size) if other != rank]
        self._living = self._others
        self._places: dict[int, str] = {}
        self._answers = True
        self._store.set(f"place {rank}", f"process {os.getpid()} on {socket.gethostname()}")

    def learn_places(self) -> None:
        """Read where the others are; all ranks wrote that before the first transfer."""
        for rank in self._others:
            self._places[rank] = self._store.get(f"place {rank}").decode()

    def leave(self, error: BaseException) -> None:
        """Write why this rank leaves; nothing happens if nobody can be reached any more."""
        words = {
            "echo": is_broken_transfer(error),
            "error": name_for_others(error),
            "message": str(error) or type(error).__name__,
        }
        with suppress(RuntimeError):
            self._store.set(f"words {self._rank}", json.dumps({**words, "time": time.time()}))
            if not words["echo"]:
                self._store.set(f"done {self._rank}", "")

    def wait_for_readers(self) -> None:
        """Stay until the others that live have read: the store may be in the process of rank 0."""
        if self._rank == 0:
            self._read("done", self._living)

    def _read(self, what: str, ranks: Sequence[int]) -> dict[int, str]:
        """What other ranks wrote, by rank, waiting ``PATIENCE`` for those that still come."""
        found: dict[int, str] = {}

        def ask() -> None:
            until = time.monotonic() + PATIENCE
            for rank in ranks:
                left = datetime.timedelta(seconds=max(0.1, until - time.monotonic()))
                with suppress(RuntimeError):
                    self._store.wait([f"{what} {rank}"], left)
                    found[rank] = self._store.get(f"{what} {rank}").decode()

        # A store in a process that hangs never answers, whatever limit it is asked with: this one must leave anyhow.
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(PATIENCE + 1)
        self._answers = not asking.is_alive()
        return dict(found)

    def cause(self, error: BaseException) -> SoraError:
        """What to tell people in place of a broken transfer: the first failure of another rank, or who is silent."""
        found = {rank: json.loads(text) for rank, text in self._read("words", self._others).items()}
        self._living = list(found)
        if self._answers:  # else a question is still open, and a store takes one at a time
            with suppress(RuntimeError):
                self._store.set(f"done {self._rank}", "")
        causes = sorted((words["time"], rank) for rank, words in found.items() if not words["echo"])
        if causes:
            rank = causes[0][1]
            return error_of_rank(rank, found[rank]["error"], found[rank]["message"])
        silent = [rank for rank in self._others if rank not in found]
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        hangs = "timed out" in said.lower() or "timeout" in said.lower()
        if not silent:
            return MachineError(f"rank {self._rank}: the ranks lost one another ({_shortened(said)}); {_GO_ON}")
        names = " and ".join(f"rank {rank} ({self._places.get(rank, 'place unknown')})" for rank in silent)
        what = "did not answer in time: hung, or cut off" if hangs else "died without a word: killed, or crashed"
        return MachineError(f"{names} {what}; {_GO_ON}")


_GO_ON = "its own output may say more, and the same command goes on from the last checkpoint"


def is_broken_transfer(error: BaseException) -> bool:
    """Whether an exception only says that another rank is not there any more."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def name_for_others(error: BaseException) -> str:
    """The class under which the other ranks raise it: ours as it is, and what the machine lacks as that."""
    if isinstance(error, OSError | MemoryError | torch.OutOfMemoryError):
        return MachineError.__name__
    return type(error).__name__


def error_of_rank(rank: int, name: str, message: str) -> SoraError:
    """Another rank's error: of its own class if that is one of ours; any other arrives as ``SoraError``."""
    kind = getattr(errors, name, None)
    if kind is RecipeError:
        return RecipeError(message.split("\n"))
    if isinstance(kind, type) and issubclass(kind, SoraError):
        return kind(message if rank == 0 else f"rank {rank}: {message}")
    return SoraError(f"rank {rank}: {name}: {message}")


def _shortened(text: str) -> str:
    """Without the place in a library's source that its messages begin with."""
    return text.partition("] ")[2] or text
