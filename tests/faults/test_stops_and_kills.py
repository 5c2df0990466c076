"""Two ranks stopped in every step, and killed at random moments, against two that nobody disturbed: bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.runs import assert_same_run, make_cache

ROOT = Path(__file__).parents[2]


def python(*command: str) -> str:
    """Run Python in the root of the checkout; what it says."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.row(18)
def test_two_ranks_stopped_in_every_step_are_two_that_never_stopped(tmp_path: Path) -> None:
    make_cache(tmp_path)
    said = python("-m", "tests.faults.two_ranks", str(tmp_path), "undisturbed", "stops")
    undisturbed, stops = map(json.loads, said.splitlines())
    assert undisturbed["codes"] == [0, 0]
    assert stops["codes"] == [75] * 2 * 5 + [0, 0]  # asked in its last step, it is done
    assert_same_run(tmp_path / "undisturbed", tmp_path / "stops")


@pytest.mark.slow
@pytest.mark.row(1)
def test_killed_at_random_moments_it_leaves_the_same_bytes(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    said = python("benchmarks/kills.py", "--kills", "6", "--steps", "12", "--json", str(result))
    found = json.loads(result.read_text())
    assert len(found["kills"]) == 6 and found["wrong"] == []
    assert {kill["into"] for kill in found["kills"]} >= {"save"}
    assert "all equal, byte by byte" in said
