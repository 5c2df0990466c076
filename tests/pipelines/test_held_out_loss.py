"""Held-out losses against the same samples one by one, and the work of updates against its own parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from soracli.core.errors import ArtifactError
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.generator import load_generator
from soracli.pipelines import held_out_loss as module
from soracli.pipelines.dit_batch import draw_batch, draw_sample, pack_batch
from soracli.pipelines.dit_compute import UpdateWork, count_updates
from soracli.pipelines.dit_start import learn_tokenizer
from soracli.pipelines.dit_step import DiTWithText, part_loss
from soracli.pipelines.held_out_loss import held_out_loss
from soracli.pipelines.train_dit import train_dit
from soracli.training.distributed import open_world
from soracli.training.seeding import generator_for
from soracli.training.utilisation import Operations
from tests.models.tiny import DIT, TEXT, stir, tiny_dit, tiny_text
from tests.pipelines.runs import dit_recipe, make_cache

COUNT = 7


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("trained")
    vae, latents = make_cache(folder)
    return train_dit(dit_recipe("loop.steps=2"), latents=latents, vae=vae, out=folder / "run", device="cpu"), latents


def test_the_mean_is_over_tokens_of_all_samples(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run, latents = trained
    # A model that says something: with what two steps teach, every prediction is nearly 0.
    recipe = dit_recipe("flow.copies=2").recipe
    generator = load_generator(run)
    stir(generator.dit), stir(generator.text)
    monkeypatch.setattr(module, "load_generator", lambda folder, device: generator)
    samples = recipe.samples.model_copy(update={"image_share": 0.3})
    asked = recipe.model_copy(update={"samples": samples, "flow": recipe.flow.model_copy(update={"text_dropout": 0.0})})
    sampler = LatentSampler(LatentCache(latents), samples)
    model, total, tokens_in_all = DiTWithText(generator.dit, generator.text), 0.0, 0
    with open_world("cpu") as world, torch.no_grad():
        for number in range(COUNT):
            drawn = draw_sample(sampler, generator.tokenizer, asked, generator_for(0, "held out", number))
            tokens, targets = pack_batch([drawn], sampler, asked)
            error = part_loss(model, tokens, targets, asked, world).error
            total, tokens_in_all = total + float(error.double().sum()), tokens_in_all + len(error)
        found = held_out_loss(run, latents, recipe, samples, count=COUNT, world=world)
        monkeypatch.setattr(module, "_PACKED", 3)
        again = held_out_loss(run, latents, recipe, samples, count=COUNT, world=world)
        seeded = dit_recipe("flow.copies=2", "loop.seed=5", "flow.text_dropout=0.9").recipe
        same = held_out_loss(run, latents, seeded, samples, count=COUNT, world=world)
    assert found.mean == pytest.approx(total / tokens_in_all, rel=1e-5)
    assert again.mean == pytest.approx(found.mean, rel=1e-5) and same == again
    known = [loss for loss in found.by_noise if loss is not None]
    assert len(found.by_noise) == 4 and min(known) < found.mean < max(known)


def test_latents_of_another_vae_are_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    from soracli.data.latents import write_index, write_shard
    from tests.models.tiny import SPEC

    write_shard(tmp_path, "all", [torch.zeros(4, 1, 4, 4)], [_record()])
    write_index(tmp_path, SPEC, ["all"], {})
    recipe = dit_recipe().recipe
    with open_world("cpu") as world, pytest.raises(ArtifactError, match="VAE"):
        held_out_loss(trained[0], tmp_path, recipe, recipe.samples, count=1, world=world)


def test_an_update_is_counted_whole(trained: tuple[Path, Path]) -> None:
    """AdamW multiplies nothing, so its update is forward and backward; Muon's has products of its own on top."""
    latents = trained[1]
    recipe = dit_recipe("optimiser.name=adamw").recipe
    found = count_updates(recipe, latents, device="cpu", counted=2, drawn=3)
    cache = LatentCache(latents)
    sampler, tokenizer = LatentSampler(cache, recipe.samples), learn_tokenizer(cache, recipe)
    dit, text = tiny_dit(**recipe.dit.model_dump()), tiny_text()
    assert DIT.hidden_size == recipe.dit.hidden_size and TEXT.hidden_size == recipe.text.hidden_size
    model, operations, lengths = DiTWithText(dit, text), 0.0, []
    with open_world("cpu") as world:
        for step in range(3):
            ((tokens, targets),) = draw_batch(sampler, tokenizer, recipe, step, world)
            lengths.append(len(tokens.order))
            if step < 2:
                with Operations() as counter:
                    part_loss(model, tokens, targets, recipe, world).loss.backward()
                operations += counter.total
    assert found.flop_per_token == pytest.approx(operations / sum(lengths[:2]))
    assert found.tokens == pytest.approx(sum(lengths) / 3)
    muon = count_updates(dit_recipe("optimiser.name=muon").recipe, latents, device="cpu", counted=2, drawn=3)
    assert muon.tokens == found.tokens and muon.flop_per_token > 1.01 * found.flop_per_token


def test_steps_come_nearest_to_the_work() -> None:
    work = UpdateWork(flop_per_token=10.0, tokens=7.0)
    assert [work.steps(flop) for flop in (1.0, 700.0, 769.0, 771.0)] == [1, 10, 11, 11]


def _record() -> dict[str, object]:
    return {"source": "world", "name": "one", "fps": 8.0, "captions": ["a ball"], "still_captions": ["a ball"]}
