"""Many files over processes against the same in this process, with errors, crashes and a broken machine among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


@pytest.mark.row(40, 53)
def test_a_crash_costs_one_file(tmp_path: Path) -> None:
    paths = make(tmp_path, "a", "crash", "b", "c")
    results = map_files(size_of, paths, 2, SilentReporter(), "sizes")
    assert [results[path] for path in (paths[0], paths[2], paths[3])] == [0, 2, 3]
    assert str(results[paths[1]]) == f"{paths[1]}: its decoder crashed"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_machine_problem_ends_it(tmp_path: Path, workers: int) -> None:
    with pytest.raises(MachineError, match="no ffmpeg"):
        map_files(size_of, make(tmp_path, "a", "machine"), workers, SilentReporter(), "sizes")


MOUNT = """
mount -t tmpfs -o size=$1 tmpfs /dev/shm 2>/dev/null || exit 77
exec "$2" -m tests.pipelines.test_file_workers "$3"
"""
"""In a mount namespace of its own: shared memory of so many bytes, and files over two processes."""


@pytest.mark.row(42)
@pytest.mark.parametrize(
    ("size", "code", "says"),
    [
        ("1m", 0, "[0, 1, 2] []"),  # nothing of ours is there under a name, before or after
        ("4k", 5, "cannot start 2 workers (no space left on device): /dev/shm is too small, or full; use one"),
    ],
)
def test_little_shared_memory(tmp_path: Path, repository: Path, size: str, code: int, says: str) -> None:
    make(tmp_path, "a", "b", "c")
    command = ["unshare", "-m", "sh", "-c", MOUNT, "sh", size, sys.executable, str(tmp_path)]
    try:
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("needs to mount a tmpfs (root)")
    assert (done.returncode, done.stdout.strip()) == (code, says), done.stderr


def test_no_files() -> None:
    assert map_files(size_of, [], 2, SilentReporter(), "sizes") == {}


if __name__ == "__main__":
    try:
        sizes = map_files(size_of, sorted(Path(sys.argv[1]).iterdir()), 2, SilentReporter(), "sizes")
        print(list(sizes.values()), os.listdir("/dev/shm"))
    except MachineError as machine:
        print(machine)
        sys.exit(machine.exit_code)
