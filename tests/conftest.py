"""What every test gets: one thread, fixed seeds, and folders to read from and to write to."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

# Before anything imports torch, which reads it once: the tests of one file run beside others on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

hypothesis.settings.register_profile("sora", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("sora")


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Seed what is imported; tests that need no torch stay free of it."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def repository() -> Path:
    """The root of the checkout, to read from."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is also the current one, to write to with relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
