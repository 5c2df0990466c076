"""Making videos with kill -9 in the middle: nothing half under a final name, and the same command makes the same."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from soracli.core.errors import DataError
from soracli.data.video_read import probe_video, read_frames
from soracli.data.video_record import read_record

ROOT = Path(__file__).parents[2]
MAKE = """
import os, signal
from contextlib import contextmanager
from pathlib import Path
import torch
from soracli.core.progress import SilentReporter
from soracli.pipelines import generate as module
from tests.pipelines.generators import write_model

class Killer(SilentReporter):
    def __init__(self, after):
        self.left = after

    @contextmanager
    def task(self, label, total, unit):
        yield self

    def advance(self, count=1, **figures):
        self.left -= count
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

def make(name, after=float("inf")):
    process = os.fork()
    if process == 0:
        try:
            module.generate(
                ["a red ball", "two cubes"],
                model=Path("model"), seed=7, seconds=4.0, out=Path(name), device="cpu", reporter=Killer(after),
            )
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

module.set_threads = lambda count: count
torch.set_num_threads(1)
write_model(Path("model"))
assert make("whole") == 0
for name in ("left", "made"):
    assert make(name, 32 + 25) == -signal.SIGKILL  # 80 % of the second video
print(*sorted(path.name for path in Path("made").iterdir()))
print(Path("made/a-red-ball-7.mp4").stat().st_mtime_ns)
assert make("made") == 0  # at once, while the encoder of the killed one may still be at work
"""


@pytest.mark.row(71)
def test_killed_in_the_middle_the_same_command_makes_the_same_videos(workspace: Path) -> None:
    """Videos that are finished stay; the one that was not is made anew, and until then what there is of it plays."""
    done = subprocess.run(
        [sys.executable, "-c", MAKE],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, kept = done.stdout.splitlines()
    assert names.split() == ["a-red-ball-7.mp4", "two-cubes-7.part.mp4"]
    assert Path("made/a-red-ball-7.mp4").stat().st_mtime_ns == int(kept)
    assert sorted(path.name for path in Path("made").iterdir()) == ["a-red-ball-7.mp4", "two-cubes-7.mp4"]
    for name in ("a-red-ball-7.mp4", "two-cubes-7.mp4"):
        assert np.array_equal(read_frames(Path("made") / name), read_frames(Path("whole") / name))
        assert read_record(Path("made") / name) == read_record(Path("whole") / name)
    assert frames_of(Path("left/two-cubes-7.part.mp4")) >= 20


def frames_of(path: Path) -> int:
    """Frames that can be played, once the encoder has ended: it outlives who was killed by a moment."""
    until = time.monotonic() + 30
    while True:
        try:
            return probe_video(path).num_frames
        except DataError:
            assert time.monotonic() < until
            time.sleep(0.1)
