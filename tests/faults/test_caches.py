"""Caching that is killed at every moment, and two at once on one cache: the bytes of one that nobody disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from soracli.data.latents import LatentCache
from soracli.models.store import save_vae
from tests.models.tiny import tiny_vae

ROOT = Path(__file__).parents[2]


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    save_vae(tmp_path / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    return tmp_path / "vae"


def run_child(folder: Path, *names: str) -> list[dict[str, Any]]:
    """What ``tests.faults.cache_child`` reports."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.cache_child", str(folder), *names],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def contents(cache: Path) -> dict[str, bytes]:
    """The index and every shard."""
    found = [cache / "latents.json", *sorted((cache / "shards").iterdir())]
    return {str(path.relative_to(cache)): path.read_bytes() for path in found}


@pytest.mark.slow
@pytest.mark.row(60)
def test_killed_at_every_moment_only_the_rest_is_made(vae: Path, tmp_path: Path) -> None:
    reports = run_child(tmp_path, "undisturbed", "killed")
    whole = contents(tmp_path / "undisturbed")
    assert len(whole) == 1 + 2 * 4
    kills = reports[1:]
    assert len(kills) > 20  # at least five moments of each shard
    assert {report["made_before"] for report in kills} == {0, 1, 2, 3, 4}
    for report in kills:
        assert report["half"] == []  # what has its final name is whole
        assert report["made_before"] + report["made_after"] == 4
        assert contents(tmp_path / f"killed {report['moment']}") == whole


@pytest.mark.row(63)
def test_two_at_once_share_the_work(vae: Path, tmp_path: Path) -> None:
    """Also when one of them is killed: the other makes what it was making."""
    _, both, one = run_child(tmp_path, "undisturbed", "together", "together and killed")
    whole = contents(tmp_path / "undisturbed")
    assert both["codes"] == [0, 0] and sorted(both["made"]) == sorted(set(both["made"])) and len(both["made"]) == 4
    assert contents(tmp_path / "together") == whole
    assert one["codes"] == [0, -9]
    assert contents(tmp_path / "together and killed") == whole
    assert len(LatentCache(tmp_path / "together").entries) == 5
