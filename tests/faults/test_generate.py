"""Making videos with kill -9 in the middle: nothing half under a final name, and the same command makes the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from soracli.data.video_read import probe_video, read_frames
from tests.pipelines.generators import write_model

ROOT = Path(__file__).parents[2]

MAKE = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
import torch
from soracli.core.progress import SilentReporter
from soracli.pipelines import generate as module
from tests.pipelines.generators import write_model
module.set_threads = lambda count: count
torch.set_num_threads(1)

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

def make(out, after=float("inf")):
    module.generate(
        ["a red ball", "two cubes"], model=Path("model"), seed=7, seconds=6.0, out=Path(out), device="cpu",
        reporter=Killer(after),
    )

write_model(Path("model"))
make("whole")
process = os.fork()
if process == 0:
    make("made", 48 + 38)  # 80 % of the second
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
os.rename("made", "killed")
os.mkdir("made")
for file in Path("killed").iterdir():
    (Path("made") / file.name).write_bytes(file.read_bytes())
make("made")
"""


@pytest.mark.row(71)
def test_killed_in_the_middle_the_same_command_makes_the_same_videos(tmp_path: Path) -> None:
    ...
