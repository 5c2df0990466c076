"""Many files over processes against the same in this process, with errors, crashes and a broken machine among them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from soracli.core.errors import DataError, MachineError
from soracli.core.progress import SilentReporter
from soracli.pipelines.file_workers import map_files


def size_of(path: Path) -> int:
    """The file's size; some names misbehave."""
    if path.name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name.startswith("wrong"):
        raise DataError(f"{path}: is wrong")
    if path.name.startswith("machine"):
        raise MachineError("no ffmpeg")
    return path.stat().st_size


def make(folder: Path, *names: str) -> list[Path]:
    for number, name in enumerate(names):
        (folder / name).write_bytes(b"x" * number)
    return [folder / name for name in names]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_file_gets_its_answer(tmp_path: Path, workers: int) -> None:
    paths = [*make(tmp_path, "a", "b", "wrong", "c"), tmp_path / "gone"]
    results = map_files(size_of, paths, workers, SilentReporter(), "sizes")
    assert [results[path] for path in (paths[0], paths[1], paths[3])] == [0, 1, 3]
    assert isinstance(results[paths[2]], DataError)
    assert isinstance(results[paths[4]], FileNotFoundError)


@pytest.mark.row(53)
def test_a_crash_costs_one_file(tmp_path: Path) -> None:
    paths = make(tmp_path, "a", "crash", "b", "c")
    results = map_files(size_of, paths, 2, SilentReporter(), "sizes")
    assert [results[path] for path in (paths[0], paths[2], paths[3])] == [0, 2, 3]
    assert str(results[paths[1]]) == f"{paths[1]}: its decoder crashed"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_machine_problem_ends_it(tmp_path: Path, workers: int) -> None:
    with pytest.raises(MachineError, match="no ffmpeg"):
        map_files(size_of, make(tmp_path, "a", "machine"), workers, SilentReporter(), "sizes")


def test_no_files() -> None:
    assert map_files(size_of, [], 2, SilentReporter(), "sizes") == {}
