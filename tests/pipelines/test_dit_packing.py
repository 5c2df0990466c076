"""Sequences of a token budget in training: counted against drawn, ranks against one, resumed against uninterrupted."""

from dataclasses import replace

import pytest
import torch

from soracli.core.errors import DataError, Stopped, UsageError
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.tokenizer import train_tokenizer
from soracli.models.tokens import ONE_FRAME, TEXT
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_packing import count_tokens, packed_keys, plan_sequences
from soracli.pipelines.train_dit import train_dit
from soracli.training.distributed import World
from tests.pipelines.runs import Notes, StopAfter, assert_same_run, dit_recipe, figures, make_cache

ONE = World(0, 1, 0, torch.device("cpu"))
PACKED = ("samples.max_tokens=90", "samples.sequences=2")


@pytest.fixture
def drawer(tmp_path):
    """A function from settings to sampler, tokenizer and recipe: 4 tokens a frame, 5 frames at most."""
    make_cache(tmp_path)
    cache, tokenizer = LatentCache(tmp_path / "latents"), train_tokenizer(["a red ball rolls"], 300)

    def build(*settings):
        recipe = dit_recipe(*settings).recipe
        return LatentSampler(cache, recipe.samples), tokenizer, recipe

    return build


@pytest.mark.parametrize("settings", [("flow.copies=2",), ("samples.token_drop=0.5",), ("samples.images_first=1000",)])
def test_what_is_counted_is_what_is_drawn(drawer, settings):
    parts = drawer(*PACKED, "flow.text_dropout=0.3", *settings)
    for step in range(6):
        keys = packed_keys(*parts, step, ONE)[0]
        [(tokens, targets)] = draw_batch(*parts, step, ONE)
        pictures = step < parts[2].samples.images_first
        assert [segment.length for segment in tokens.segments] == [count_tokens(*parts, key, pictures) for key in keys]
        assert len(targets) == len(tokens.wanted) and not (tokens.kind[tokens.wanted] == TEXT).any()
        assert not pictures or set(tokens.kind.tolist()) == {TEXT, ONE_FRAME}


def test_a_step_is_the_same_for_any_number_of_ranks(drawer):
    parts = drawer("samples.max_tokens=90", "samples.sequences=4", "samples.token_drop=0.3")
    for step in (0, 7, 40):
        [(together, _)] = draw_batch(*parts, step, ONE)
        rows = {size: [] for size in (2, 4)}
        for size, found in rows.items():
            for rank in range(size):
                [(tokens, _)] = draw_batch(*parts, step, replace(ONE, rank=rank, size=size))
                assert len(tokens.order) <= 90 * 4 // size
                found += tokens.patches.tolist()
            assert sorted(found) == sorted(together.patches.tolist())
    with pytest.raises(UsageError, match="a batch of 4 cannot be shared by 3 ranks"):
        draw_batch(*parts, 0, replace(ONE, size=3))


def test_steps_show_other_samples_and_pictures_come_first(drawer):
    parts = drawer(*PACKED, "samples.images_first=3", "samples.image_share=0")
    keys = [key for step in range(200) for key in packed_keys(*parts, step, ONE)[0]]
    assert len(set(keys)) == len(keys)
    assert {first for _, first, _ in packed_keys(*parts, 2, ONE)[0]} == {0}
    assert {first for _, first, _ in packed_keys(*parts, 3, ONE)[0]} == {3}
    assert plan_sequences(*parts, 3).padding < 0.2


def train(folder, name, *settings, reporter=None):
    return train_dit(
        dit_recipe(*settings),
        latents=folder / "latents",
        vae=folder / "vae",
        out=folder / name,
        device="cpu",
        reporter=reporter,
    )


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path):
    make_cache(tmp_path)
    settings = (*PACKED, "samples.token_drop=0.3", "samples.loss_weights=sample")
    whole = train(tmp_path, "whole", *settings)
    with pytest.raises(Stopped):
        train(tmp_path, "parts", *settings, reporter=StopAfter(3))
    assert_same_run(train(tmp_path, "parts", *settings), whole)
    assert len(figures(whole)) == 6


def test_what_is_too_long_is_left_out_and_said_once(tmp_path):
    make_cache(tmp_path)
    said = Notes()
    train(tmp_path, "run", "samples.max_tokens=40", "loop.steps=3", reporter=said)
    notes = [text for text in said.said if "left out" in text]
    assert len(notes) == 1 and "are longer than samples.max_tokens = 40; the longest has" in notes[0]
    quiet = Notes()
    train(tmp_path, "roomy", "samples.max_tokens=300", "loop.steps=1", reporter=quiet)
    assert not any("left out" in text for text in quiet.said)
    with pytest.raises(DataError, match=r"no sample fits samples\.max_tokens = 4: the shortest of 1000"):
        train(tmp_path, "none", "samples.max_tokens=4", "loop.steps=1")


def test_weights_of_the_loss_change_the_loss(tmp_path):
    make_cache(tmp_path)
    losses = [
        figures(train(tmp_path, equal, f"samples.loss_weights={equal}", "loop.steps=1"))[0]
        for equal in ("token", "sample")
    ]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.5)
