"""The budget on paper, at a tiny size: against a plan's own counts, and arithmetic told again."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from soracli.pipelines.recipes import DitTrainRecipe
from soracli.recipe.load import load_recipe

TINY = ["dit.hidden_size=24", "dit.depth=2", "dit.num_heads=2", "text.hidden_size=16", "text.num_heads=2"]


@pytest.fixture
def budget(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_dit_budget", repository / "benchmarks/dit_budget.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks_dit_budget", module)
    spec.loader.exec_module(module)
    return module


def test_ranks_share_and_time_follows(budget: ModuleType) -> None:
    changes = [*TINY, "samples.batch_size=8", "samples.image_share=0", "samples.latent_frames=[1]", "flow.copies=2"]
    recipe = load_recipe(DitTrainRecipe, None, changes).recipe
    one, two = (budget.count(recipe, (4, 6), text_tokens=3, ranks=ranks, peak=1e9, utilisation=0.5) for ranks in (1, 2))
    assert (one.video_tokens, one.text_tokens, one.rank_tokens) == (2 * 6, 3, 8 * 15)
    assert two.rank_tokens == 4 * 15 and two.flops == one.flops
    assert one.memory.activations == pytest.approx(2 * two.memory.activations, abs=1)
    assert one.memory.weights == two.memory.weights == 4 * one.parameters
    assert one.seconds == pytest.approx(one.flops / 0.5e9) == pytest.approx(2 * two.seconds)
    assert one.days == pytest.approx(one.seconds * recipe.loop.steps / 86400)
    again = load_recipe(DitTrainRecipe, None, [*changes, "checkpoint_activations=true", "dit.text=cross"]).recipe
    crossing = budget.count(again, (4, 6), text_tokens=3, peak=1e9, utilisation=0.5)
    assert crossing.rank_tokens == 8 * 12
    assert crossing.memory.activations < one.memory.activations


def test_it_prints(budget: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [part for change in [*TINY, "samples.batch_size=4"] for part in ("--set", change)]
    arguments = ["nano/dit", "--size", "4x4", "--peak", "1", "--memory", "8", *sets, "--json", str(tmp_path / "x.json")]
    budget.main(arguments)
    printed = capsys.readouterr().out
    assert "40% of 1 TFLOP/s a rank; not run" in printed and "of 8 GB a rank (weights 0.0" in printed
    assert '"activations"' in (tmp_path / "x.json").read_text()
