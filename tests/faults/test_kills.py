"""A few rounds of the storm of kills that benchmarks/kills.py is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.row(1)
@pytest.mark.slow
def test_a_storm_of_kills_changes_no_byte(tmp_path: Path, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/kills.py", "--kills", "6", "--json", str(tmp_path / "result.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)},
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((tmp_path / "result.json").read_text())["kills"]) == 6
