"""The folder one run writes: who owns it, whether it is new or goes on, and whether the recipe is still the same.

::

    RUN/lock          held (flock) by the process that writes; names it
    RUN/recipe.toml   the recipe as the user gave it
    RUN/run.json      every resolved value, for people and for the comparison on resume; what it was forked from
    RUN/metrics.jsonl RUN/checkpoints/ RUN/samples/ RUN/model/
    RUN/stopped       why the last process left early; absent while one runs and after the end
    RUN/turns         what batch scripts had at the end of each turn, to see whether there is progress
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from soracli.core.errors import ArtifactError, BusyError, MachineError, UsageError
from soracli.core.files import write_json_atomic, write_text_atomic
from soracli.core.json_text import parse_json
from soracli.training.config import HARMLESS_CHANGES
from soracli.training.fork_run import fork_run
from soracli.training.recipe_changes import check_recipe_unchanged, recipe_changes, with_defaults

OWN_FILES = {"lock", "recipe.toml", "stopped", "turns"}
"""What may lie in a folder that became no run yet: a start that was killed at once leaves these."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    Attributes:
        path: The folder.
        resumed: Whether a run was here before.
    """

    path: Path
    resumed: bool

    def check_there(self) -> None:
        """Whether it is still there, before something is written that would make the folder anew.

        Raises:
            MachineError: If somebody removed it.
        """
        if not (self.path / "run.json").is_file():
            raise MachineError(f"{self.path} is gone: it was removed, or its disk was, while this training ran")

    @property
    def checkpoints(self) -> Path:
        """Folder of training checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """JSON lines of what was measured."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Folder of samples made on the way."""
        return self.path / "samples"

    @property
    def model(self) -> Path:
        """Folder of the finished model."""
        return self.path / "model"


@contextmanager
def open_run(
    path: Path,
    recipe_text: str,
    resolved: Mapping[str, Any],
    allowed_changes: Sequence[str] = HARMLESS_CHANGES,
    note: Callable[[str], None] = lambda text: None,
    defaults: Mapping[str, Any] | None = None,
    fork_of: Path | None = None,
) -> Iterator[RunFolder]:
    """Own a run folder while open; only rank 0 calls it. Checked before anything expensive is built.

    Args:
        path: The folder; made if it is not there.
        recipe_text: The recipe as the user gave it, saved for people.
        resolved: Every value of the recipe as nested tables of JSON values.
        allowed_changes: ``fnmatch`` patterns of dotted keys that a resume may change.
        note: Told, a line each, about changes that were accepted.
        defaults: Resolved values of a recipe that says nothing: what a run began with of keys that are newer than it.
        fork_of: Another run, whose newest whole checkpoint this new one begins with, whatever its recipe says.

    Raises:
        BusyError: If another process owns the folder; names it.
        UsageError: If the folder holds something that is no run, or a run where a fork should begin.
        RecipeError: If the recipe differs from the run's in a key that may not change.
        ArtifactError: If ``run.json`` is damaged.
        MachineError: If the folder cannot be made or written.
    """
    with ExitStack() as held:
        try:
            path.mkdir(parents=True, exist_ok=True)
            held.enter_context(_locked(path))
            _check_vacant(path)
            if fork_of is not None:
                began = with_defaults(_read_record(fork_of / "run.json"), defaults or {})
                forked = fork_run(fork_of, path, note)
                for change in recipe_changes(began, resolved):
                    note(f"{change.key} is now {change.new} (was {change.old})")
                write_json_atomic(path / "run.json", {"format": 1, "resolved": resolved, "forked_from": forked})
            run = _enter(path, recipe_text, resolved, allowed_changes, note, defaults or {})
        except OSError as error:
            raise MachineError(f"cannot use {path} as a run folder: {error.strerror}; choose another --out") from error
        yield run


def write_stopped(path: Path, reason: str, element: str = "") -> None:
    """Say why this process leaves early, after everything is saved: batch scripts decide by it.

    Args:
        path: The run folder.
        reason: Name of the signal, such as ``SIGUSR1``.
        element: Number of this element of a job array that shares the folder; writes ``stopped.N``.
    """
    write_text_atomic(path / (f"stopped.{element}" if element else "stopped"), reason + "\n")


def _enter(
    path: Path,
    recipe_text: str,
    resolved: Mapping[str, Any],
    allowed_changes: Sequence[str],
    note: Callable[[str], None],
    defaults: Mapping[str, Any],
) -> RunFolder:
    record = path / "run.json"
    resumed, facts = record.is_file(), {}
    if resumed:
        began = with_defaults(_read_record(record), defaults)
        for line in check_recipe_unchanged(began, resolved, allowed_changes, str(path)):
            note(line)
        facts = json.loads(record.read_text(encoding="utf-8"))
    for litter in path.glob(".*.part"):  # of a process that was killed while it wrote a file
        litter.unlink(missing_ok=True)
    (path / "stopped").unlink(missing_ok=True)
    write_text_atomic(path / "recipe.toml", recipe_text)
    write_json_atomic(record, {**facts, "format": 1, "resolved": resolved})
    return RunFolder(path, resumed)


def _check_vacant(path: Path) -> None:
    """Whether a folder is a run, or nothing yet."""
    strangers = sorted(entry.name for entry in path.iterdir() if not _is_own(entry.name))
    if strangers and not (path / "run.json").is_file():
        raise UsageError(f"{path} holds {strangers[0]} but no run.json, so it is no run folder: choose another --out")


def _is_own(name: str) -> bool:
    return name in OWN_FILES or (name.startswith(".") and name.endswith(".part"))


def _read_record(record: Path) -> dict[str, Any]:
    try:
        content = parse_json(record.read_text(encoding="utf-8"))
        resolved = content["resolved"]
        if not isinstance(resolved, dict):
            raise TypeError("resolved is no table")
    except FileNotFoundError:
        raise UsageError(f"{record.parent} is no run: it holds no run.json") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{record} is damaged ({error}): restore it, or choose another --out") from error
    return resolved


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock. The kernel drops it when the process dies, however it dies; the file is never removed."""
    with (path / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"{path} is in use by {_owner(file)}: wait for it, or choose another --out") from error
        except OSError as error:
            raise MachineError(
                f"{path} is on a file system without locks ({error.strerror}): choose another --out"
            ) from error
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        if job := os.environ.get("SLURM_JOB_ID"):
            owner["job"] = job
        _rewrite(file, json.dumps(owner))
        try:
            yield
        finally:
            with suppress(OSError):  # a full disk or a vanished folder must not hide the error that brought us here
                _rewrite(file, "")


def _owner(file: TextIO) -> str:
    file.seek(0)
    try:
        owner = json.load(file)
        job = f", Slurm job {owner['job']}" if "job" in owner else ""
        return f"process {owner['pid']} on {owner['host']}{job} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _rewrite(file: TextIO, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()
