"""Every problem a user can meet, and the exit code it leaves with.

::

    SoraError          1   a bug, or the base of:
    ├── UsageError     2   wrong use of the command line
    │   └── RecipeError    2   one or more problems of a recipe, a line each
    ├── DataError      3   a video, caption, manifest or archive that cannot be used
    ├── ArtifactError  4   a checkpoint or cache that is damaged, foreign or not trusted
    ├── MachineError   5   disk, permission, memory, a missing part
    ├── NumericsError  6   NaN or infinity where numbers should be
    ├── BusyError      7   another process owns the run folder
    └── Stopped       75   stopped early on request, everything saved

A message is one line: what, where, the nearest valid thing, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SoraError(Exception):
    """Base of every error that is shown to a person as one line."""

    exit_code = 1


class UsageError(SoraError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class RecipeError(UsageError):
    """One or more problems of a recipe; ``problems`` holds a line each, in file order."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(SoraError):
    """A file or folder of data cannot be used."""

    exit_code = 3


class ArtifactError(SoraError):
    """A checkpoint, model folder or cache is damaged, of another kind, or made by other parents."""

    exit_code = 4


class MachineError(SoraError):
    """The machine cannot: no space, no permission, no memory, a part not installed."""

    exit_code = 5


class NumericsError(SoraError):
    """A loss or a tensor is not finite."""

    exit_code = 6


class BusyError(SoraError):
    """Another process is writing this run."""

    exit_code = 7


class Stopped(SoraError):
    """Stopped early on request (SIGTERM, SIGUSR1, ^C); everything is saved, the same command goes on."""

    exit_code = 75


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like ``word``, or None when nothing is close.

    Args:
        word: What the user wrote.
        choices: What would have been valid.

    Returns:
        The nearest choice by difflib's ratio (at least 0.6), else None.
    """
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return found[0] if found else None
