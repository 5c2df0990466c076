"""A save that is killed at any moment, or meets a full disk, against the promise that the older checkpoint is kept."""

import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
import torch

from soracli.core.errors import MachineError
from soracli.training.checkpoint import list_checkpoints, load_latest, save_checkpoint
from tests.training.test_checkpoint import names, parts_of, save

ROOT = Path(__file__).parents[2]

KILLED_AT_EVERY_MOMENT = """
import os, signal, sys
from pathlib import Path
from soracli.training import checkpoint
from tests.training.test_checkpoint import save

def child(folder, moment):
    count = 0
    def counted(function):
        def wrapped(*args, **kwargs):
            nonlocal count
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return wrapped
    os.fsync, os.rename, os.mkdir, os.rmdir = map(counted, (os.fsync, os.rename, os.mkdir, os.rmdir))
    checkpoint.save_file, checkpoint.sha256_file = counted(checkpoint.save_file), counted(checkpoint.sha256_file)
    save(folder, 2, keep=1)

root = Path(sys.argv[1])
for moment in range(1, 200):
    folder = root / str(moment)
    save(folder, 1)
    process = os.fork()
    if process == 0:
        child(folder, moment)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    if not os.WIFSIGNALED(status):
        print(moment, status)
        break
"""

LIMITED = """
import resource, sys
from pathlib import Path
from soracli.core.errors import MachineError
from tests.training.test_checkpoint import save
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    save(Path(sys.argv[1]), 2)
except MachineError as error:
    print(error)
"""


def run_python(code: str, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.row(2, 3)
def test_killed_at_any_moment_one_whole_checkpoint_is_left(tmp_path):
    moments, status = run_python(KILLED_AT_EVERY_MOMENT, str(tmp_path)).split()
    assert int(moments) > 12 and status == "0"
    steps, whole = [], []
    for moment in range(1, int(moments) + 1):
        folder = tmp_path / str(moment)
        steps.append(load_latest(folder).step)
        whole.append([path.name[-1] for path in list_checkpoints(folder)])
        save(folder, 3, keep=1)  # the next save clears what the killed one left
        assert names(folder) == ["step_00000003"]
    assert steps == sorted(steps) and set(steps) == {1, 2}
    # The older one goes only when the newer one is there: alone, then both, then the newer alone.
    assert [names for names, _ in groupby(whole)] == [["1"], ["1", "2"], ["2"]]


@pytest.mark.row(4)
def test_a_write_that_fails_leaves_the_older_one_and_no_litter(tmp_path):
    save(tmp_path, 1)
    message = run_python(LIMITED, str(tmp_path))
    assert message.startswith("cannot write a checkpoint") and "File too large" in message
    assert "step_00000001 is kept" in message and message.count("\n") == 1
    assert names(tmp_path) == ["step_00000001"] and load_latest(tmp_path).step == 1


@pytest.mark.row(4)
def test_too_little_space_is_refused_before_writing(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 3 * 2**19})())
    with pytest.raises(MachineError, match=r"need 3.0 MiB at .*, free 1.5 MiB; step_00000001 is kept"):
        big = {"model": {"weight": parts_of(1)["model"]["tied"].new_zeros(2**19)}}
        save_checkpoint(tmp_path, 2, big, {})
    assert names(tmp_path) == ["step_00000001"]


@pytest.mark.row(4)
def test_full_disk_for_real(tmp_path, monkeypatch):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs to mount a tmpfs (root)")
    try:
        save(tmp_path, 1)
        (tmp_path / "filler").write_bytes(b"x" * 2**21)
        with pytest.raises(MachineError, match=r"no space for a checkpoint: need 1.0 MiB"):
            save(tmp_path, 2)
        # Space that goes away after the check, as when another program writes: the tensors themselves do not fit.
        (tmp_path / "filler").write_bytes(b"x" * (2**20 + 2**19))
        with monkeypatch.context() as patched, pytest.raises(MachineError, match=r"cannot write .*No space left"):
            patched.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2**30})())
            save_checkpoint(tmp_path, 2, {"model": {"weight": torch.zeros(2**19)}}, {})
        assert names(tmp_path) == ["filler", "step_00000001"] and load_latest(tmp_path).step == 1
        (tmp_path / "filler").unlink()
        save(tmp_path, 2)
        assert load_latest(tmp_path).step == 2
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
