"""The race of packing: what the issue asks of a mixed set, counted; batches of every way hold what they say."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from soracli.models.tokens import TEXT


@pytest.fixture
def race(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_packing", repository / "benchmarks/packing.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks_packing", module)
    spec.loader.exec_module(module)
    return module


def test_the_set_is_mixed(race: ModuleType) -> None:
    """One image to 8 seconds, three resolutions, five aspects."""
    shapes = race.mixed_set()
    assert len(shapes) == 5 * 3 * 5 and {frames for frames, _, _ in shapes} == {1, 3, 6, 12, 24}
    assert max(map(race.length_of, shapes)) > 30 * min(map(race.length_of, shapes))


@pytest.mark.parametrize("budget", [2048, 4096, 8192])
def test_little_is_empty_and_no_rank_waits(race: ModuleType, budget: int) -> None:
    given = race.parse(["--max-tokens", str(budget), "--plan-steps", "32"])
    found = race.count(given)
    assert found["packed"].padding <= 0.02
    assert found["packed"].slowest_rank <= 1.05
    assert found["packed"].slowest_rank < found["buckets"].slowest_rank
    assert found["longest"].padding > 0.5


def test_ways_show_the_same_mixture(race: ModuleType) -> None:
    """A step of every way keeps to the budget, and no way shows long samples more often than another."""
    shapes, budget = race.mixed_set(), 4096
    expected = sum(map(race.length_of, shapes)) / len(shapes)
    for steps in (
        race.packed_steps(budget, 8, 256, 0, 384),
        race.bucket_steps(budget, 8, 256, 0),
        race.longest_steps(budget, 8, 256, 0),
    ):
        parts = [part for step in steps for part in step]
        assert len(steps) >= 256 and all(sum(map(race.length_of, part)) <= budget for part in parts)
        lengths = [race.length_of(shape) for part in parts for shape in part]
        assert sum(lengths) / len(lengths) == pytest.approx(expected, rel=0.08)


def test_filling_changes_nothing_that_is_real(race: ModuleType) -> None:
    shapes = [(1, 2, 3), (3, 1, 2)]
    real, filled = race.build_tokens(shapes), race.build_tokens(shapes, 50)
    assert [segment.length for segment in real.segments] == [38, 38]
    assert [segment.length for segment in filled.segments] == [50, 50]
    assert int((filled.kind == TEXT).sum()) == 64 and len(filled.wanted) == len(real.wanted) == 12
    for segment in filled.segments:
        assert not segment.mask[:38, 38:].any()  # nobody real sees the filling
        assert torch.equal(segment.mask[:38, :38], real.segments[0].mask)


def test_counting_alone(race: ModuleType, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert race.main(["--plan-only", "--plan-steps", "16", "--json", "found.json"]) == 0
    ways = json.loads(Path("found.json").read_text())["ways"]
    assert list(ways) == ["packed", "buckets", "longest"] and ways["packed"]["tokens_per_second"] is None
    assert "slowest of 8 ranks" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        race.parse(["--max-tokens", "1000"])


@pytest.mark.slow
def test_a_tiny_race(race: ModuleType, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--max-tokens", "1700", "--hidden-size", "24", "--depth", "1", "--heads", "2", "--steps", "1"]
    assert race.main([*small, "--plan-steps", "4", "--threads", "1", "--json", "found.json"]) == 0
    ways = json.loads(Path("found.json").read_text())["ways"]
    assert all(found["tokens_per_second"] > 0 and len(found["tokens"]) == 1 for found in ways.values())
    assert set(ways["packed"]["seconds"]) == {"segments"} and set(ways["longest"]["seconds"]) == {"segments", "batched"}
    assert "1.00x" in capsys.readouterr().out
