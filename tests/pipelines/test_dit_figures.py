"""What live figures of a DiT's training say, against torch's counter, a closed form and the clock."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.pipelines import dit_figures
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_figures import Speedometer, Work, build_speedometer, fit_work, shown
from soracli.pipelines.dit_start import learn_tokenizer
from soracli.pipelines.dit_step import DiTWithText, part_loss
from soracli.training.distributed import World
from soracli.training.utilisation import Operations
from tests.pipelines.runs import dit_recipe, make_cache

ALONE = World(0, 1, 0, torch.device("cpu"))


@given(
    by_token=st.floats(1, 1e9),
    by_pair=st.floats(0, 1e5),
    lengths=st.lists(st.integers(8, 4000), min_size=2, unique=True),
)
def test_work_that_is_of_this_form_is_found(by_token, by_pair, lengths):
    counted = [by_token * length + by_pair * length**2 for length in lengths]
    found = fit_work(lengths, counted)
    for length, operations in zip(lengths, counted, strict=True):
        assert found.by_token * length + found.by_pair * length**2 == pytest.approx(operations, rel=1e-6)


def test_samples_of_one_length_are_enough_for_that_length():
    found = fit_work([300.0] * 4, [5e9] * 4)
    assert found.by_token * 300 + found.by_pair * 300**2 == pytest.approx(5e9)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_step_costs_what_is_counted(tmp_path, rank):
    """The work of a batch, known from a few samples alone, is what executing it counts; nothing is left behind."""
    recipe = dit_recipe("dit.hidden_size=48", "samples.batch_size=8", "accumulate=2").recipe
    cache = LatentCache(make_cache(tmp_path)[1])
    sampler, tokenizer = LatentSampler(cache, recipe.samples), learn_tokenizer(cache, recipe)
    model = DiTWithText(DiT(recipe.dit, 4, recipe.text.hidden_size), TextEncoder(recipe.text))
    model.text.requires_grad_(rank == 0)
    batch = draw_batch(sampler, tokenizer, recipe, 0, ALONE)
    before = torch.get_rng_state()
    speedometer = build_speedometer(model, sampler, tokenizer, recipe, batch, ALONE)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    with Operations() as counter:
        for tokens, targets in batch:
            part_loss(model, tokens, targets, recipe, ALONE).loss.backward()
    assert sum(speedometer.work.of(tokens) for tokens, _ in batch) == pytest.approx(counter.total, rel=0.05)
    figures = speedometer.figures(batch, 2.0, step=1)
    assert figures["utilisation"] == pytest.approx(counter.total / 2 / speedometer.rate, rel=0.05)
    assert figures["samples_per_second"] == 4
    assert figures["tokens_per_second"] == sum(len(tokens.order) for tokens, _ in batch) / 2
    assert figures["padding"] == 0


def test_time_left_is_that_of_the_last_steps(monkeypatch):
    """Everything between two steps counts; what happened long ago does not."""
    now = [50.0]
    monkeypatch.setattr(dit_figures, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    speedometer = Speedometer(Work(1, 0), 1.0, ALONE, steps=400)
    for step in range(1, 301):
        now[0] += 2.0 if step <= 150 else 3.0
        left = speedometer.figures([(_Sequence(), None)], 1.0, step)["seconds_left"]
        if step in (1, 150):
            assert left == pytest.approx(2 * (400 - step))
    assert left == pytest.approx(3 * 100)


class _Sequence:
    """As much of ``Tokens`` as is looked at: 3 text tokens and 5 patches in 10 places."""

    text, patches, order, text_lengths, segments = range(3), range(5), range(10), (3,), ()


def test_padding_is_what_is_neither_text_nor_video():
    figures = Speedometer(Work(1, 0), 1.0, ALONE, steps=10).figures([(_Sequence(), None)], 0.5, 1)
    assert figures["padding"] == pytest.approx(0.2) and figures["tokens_per_second"] == 16
    assert shown(figures, 0.0)["padding"] == "20.0%" and "skipped" not in shown(figures, 0.0)
    assert shown(figures, 2.0)["skipped"] == 2
