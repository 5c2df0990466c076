"""A rank that dies, fails, hangs or computes nonsense: all leave, and what people read is the first cause."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from soracli.training.checkpoint import load_latest
from tests.faults.two_ranks import AT_STEP
from tests.pipelines.runs import figures, make_cache

ROOT = Path(__file__).parents[2]
FAULTS = (
    "kill", "kill of rank 0", "segfault", "exit", "bug", "data", "memory", "data on rank 0", "full disk", "hang",
    "hang of rank 0", "nan", "spike", "worlds 1-1-1", "worlds 1-2-1", "worlds 3",
)  # fmt: skip


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A folder of runs, one for each fault, and how their ranks left."""
    folder = tmp_path_factory.mktemp("disturbed")
    make_cache(folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.two_ranks", str(folder), *FAULTS],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    reports = {report["fault"]: report for report in map(json.loads, done.stdout.splitlines())}
    assert reports.keys() == set(FAULTS), done.stderr
    return folder, reports


def said(folder: Path, fault: str, rank: int) -> str:
    """The last line of a rank."""
    lines = (folder / f"{fault}.rank{rank}").read_text().splitlines()
    return lines[-1] if lines else ""


@pytest.mark.row(35)
@pytest.mark.parametrize(
    ("fault", "codes", "other", "says"),
    [
        ("kill", [5, -9], 0, "sora: error: rank 1 (process "),
        ("kill of rank 0", [-9, 5], 1, "sora: error: rank 0 (process "),
        ("segfault", [5, -11], 0, "died without a word: killed, or crashed"),
        ("exit", [1, 3], 0, "rank 1: SystemExit: 3"),
        ("bug", [1, 1], 0, "rank 1: ZeroDivisionError: oops"),
        ("data", [3, 3], 0, "sora: error: rank 1: clip seven cannot be read"),
        ("memory", [5, 5], 0, "sora: error: rank 1: "),
        ("data on rank 0", [3, 3], 1, "sora: error: clip seven cannot be read"),
    ],
)
def test_all_leave_and_say_who_was_first(
    disturbed: tuple[Path, dict[str, dict[str, Any]]], fault: str, codes: list[int], other: int, says: str
) -> None:
    folder, reports = disturbed
    assert reports[fault]["codes"] == codes
    assert reports[fault]["apart"] < 60  # under 1 s on an idle machine; the promise to people is 10 s
    assert says in said(folder, fault, other)
    assert load_latest(folder / fault / "checkpoints").step == 2  # type: ignore[union-attr]


@pytest.mark.row(36)
@pytest.mark.parametrize(("fault", "codes", "hung"), [("hang", [5, -9], 1), ("hang of rank 0", [-9, 5], 0)])
def test_a_rank_that_hangs_is_named_after_the_timeout_of_the_recipe(
    disturbed: tuple[Path, dict[str, dict[str, Any]]], fault: str, codes: list[int], hung: int
) -> None:
    folder, reports = disturbed
    assert reports[fault]["codes"] == codes
    line = said(folder, fault, 1 - hung)
    assert line.startswith(f"sora: error: rank {hung} (process ") and "did not answer in time: hung, or cut off" in line


@pytest.mark.row(5, 6)
def test_a_full_disk_of_rank_0_ends_both(disturbed: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, reports = disturbed
    assert reports["full disk"]["codes"] == [5, 5]
    for rank in range(2):
        assert said(folder, "full disk", rank) == "sora: error: cannot write a checkpoint: the disk is full"
    # Nothing is saved behind the back of the training: it knows at once, not at the next save.
    assert len(figures(folder / "full disk")) == AT_STEP + 1
    assert load_latest(folder / "full disk/checkpoints").step == 2  # type: ignore[union-attr]


@pytest.mark.row(43)
def test_nan_on_one_rank_changes_no_weight_on_any(disturbed: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    """The step is logged as what it was, the run goes on, and what it leaves is finite."""
    folder, reports = disturbed
    assert reports["nan"]["codes"] == [0, 0]
    losses = figures(folder / "nan")
    assert [step for step, loss in enumerate(losses) if loss == "nan"] == [AT_STEP]
    assert figures(folder / "nan", "skipped_updates") == [0, 0, 0, 1, 1, 1]
    found = load_latest(folder / "nan/checkpoints")
    assert found is not None and found.step == 6
    assert all(bool(torch.isfinite(tensor).all()) for part in found.parts.values() for tensor in part.values())


@pytest.mark.row(46)
def test_a_spike_shows_in_the_log_and_the_run_goes_on(disturbed: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, reports = disturbed
    assert reports["spike"]["codes"] == [0, 0]
    norms = figures(folder / "spike", "gradient_norm")
    assert max(norms) == norms[AT_STEP] > 100 * norms[AT_STEP - 1]
    assert len(figures(folder / "spike")) == 6


@pytest.mark.row(20)
def test_another_number_of_ranks_goes_on_with_the_same_samples(
    disturbed: tuple[Path, dict[str, dict[str, Any]]],
) -> None:
    """One rank, then two, then one again, against one all along: the losses differ by rounding alone."""
    folder, reports = disturbed
    assert set(reports["worlds 1-2-1"]["codes"]) == {0}
    losses = figures(folder / "worlds 1-2-1")
    assert len(losses) == 6 and losses == pytest.approx(figures(folder / "worlds 1-1-1"), rel=1e-4)
    assert figures(folder / "worlds 1-2-1", "tokens") == figures(folder / "worlds 1-1-1", "tokens")


@pytest.mark.row(21)
def test_ranks_that_the_batch_cannot_be_shared_by_are_told_which_can(
    disturbed: tuple[Path, dict[str, dict[str, Any]]],
) -> None:
    folder, reports = disturbed
    assert reports["worlds 3"]["codes"] == [2, 2, 2]
    for rank in range(3):
        assert "batch of 4 cannot be shared by 3 ranks" in said(folder, "worlds 3", rank)
        assert "fit: 1, 2, 4" in said(folder, "worlds 3", rank)
    assert not (folder / "worlds 3/checkpoints").exists()
