"""A step in parts against the same step in one: gradients, loss and figures to rounding. Ranks: test_two_ranks.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_start import learn_tokenizer
from soracli.pipelines.dit_step import DiTWithText, learn
from soracli.training.config import LoopConfig, OptimiserConfig
from soracli.training.distributed import World
from soracli.training.optimiser import StepReport, build_optimiser
from soracli.training.state import begin_state
from tests.models.tiny import stir
from tests.pipelines.runs import dit_recipe, make_cache

ALONE = World(0, 1, 0, torch.device("cpu"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return LatentCache(make_cache(tmp_path_factory.mktemp("cache"))[1])


def gradients_of(cache, parts, batch_size, step):
    """Gradients and figures of one step."""
    recipe = dit_recipe(f"accumulate={parts}", f"samples.batch_size={batch_size}").recipe
    model = stir(DiTWithText(DiT(recipe.dit, 4, recipe.text.hidden_size), TextEncoder(recipe.text)))
    state = begin_state(model, build_optimiser(model.named_parameters(), OptimiserConfig()), LoopConfig())
    found: dict[str, torch.Tensor] = {}

    def keep(number, total, loss):
        found.update(
            {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        )
        return StepReport(0.0, 0.0, False, 0)

    state.optimiser.step = keep  # type: ignore[method-assign]
    batch = draw_batch(LatentSampler(cache, recipe.samples), learn_tokenizer(cache, recipe), recipe, step, ALONE)
    assert len(batch) == min(parts, batch_size)
    return found, learn(model, batch, recipe, state, ALONE)


@settings(max_examples=12)
@given(parts=st.integers(2, 9), batch_size=st.integers(1, 7), step=st.integers(0, 1000))
def test_parts_are_the_whole(cache, parts, batch_size, step):
    torch.manual_seed(0)
    expected, whole = gradients_of(cache, 1, batch_size, step)
    torch.manual_seed(0)
    found, figures = gradients_of(cache, parts, batch_size, step)
    assert found.keys() == expected.keys() and len(found) > 20
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5 * float(gradient.abs().max()) + 1e-9, rtol=0)
    assert figures == pytest.approx(whole, rel=1e-5)
