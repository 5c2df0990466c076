"""A step of a DiT: its own estimates, the dispersive loss and the loss by noise level against plain versions."""

import math
from pathlib import Path

import pytest
import torch

from soracli.core.errors import RecipeError, Stopped
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.diffusion.config import FlowConfig
from soracli.models.tokenizer import train_tokenizer
from soracli.models.tokens import Tokens, patchify
from soracli.pipelines import dit_step
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_step import DiTWithText, own_estimates
from soracli.pipelines.train_dit import train_dit
from soracli.training.distributed import World
from tests.models.tiny import tiny_dit, tiny_text
from tests.pipelines.runs import StopAfter, assert_same_run, dit_recipe, figures, make_cache, weights

WORLD = World(0, 1, 0, torch.device("cpu"))
SELF = ("flow.self_conditioning=0.5", "dit.self_conditioned=true")
MORE = (*SELF, "flow.objective=v", "flow.shift=1", "flow.dispersive=0.25", "flow.copies=2")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dit_step, "_VALIDATION_SAMPLES", 8)


def batch(folder: Path, *changes: str) -> tuple[Tokens, torch.Tensor, LatentSampler]:
    if not (folder / "vae").exists():
        make_cache(folder)
    recipe = dit_recipe(*changes).recipe
    sampler = LatentSampler(LatentCache(folder / "latents"), recipe.samples)
    [part] = draw_batch(sampler, train_tokenizer(["a red ball rolls"], 300), recipe, 0, WORLD)
    return *part, sampler


def train(folder: Path, name: str, *changes: str, **options) -> Path:
    return train_dit(
        dit_recipe(*changes), latents=folder / "latents", vae=folder / "vae", out=folder / name, device="cpu", **options
    )


@pytest.mark.parametrize("objective", ["flow", "v"])
def test_a_right_model_estimates_the_data(tmp_path: Path, objective: str) -> None:
    """A model that says the targets: its estimates are the latents in the cache, and nothing where nothing is made."""
    tokens, targets, sampler = batch(tmp_path, f"flow.objective={objective}", "flow.copies=2")

    class Right(torch.nn.Module):
        def forward(self, given: Tokens) -> torch.Tensor:
            assert given is tokens and not torch.is_grad_enabled()
            return targets

    found = own_estimates(Right(), tokens, objective)
    assert found.shape == tokens.patches.shape
    places = tokens.order[tokens.wanted] - len(tokens.text)
    rest = torch.ones(len(found), dtype=torch.bool).index_fill(0, places, False)
    assert len(places) < len(found) and not found[rest].any()
    # Tokens of a frame stand together, and every frame is 4x4: four tokens.
    known = torch.cat([patchify(sampler.cache.latents(entry), (1, 2, 2)) for entry in sampler.cache.entries])
    for frame in found[places].unflatten(0, (-1, 4)):
        assert float((known - frame).abs().amax((1, 2)).min()) < 1e-4


def test_no_gradient_goes_through_an_estimate(tmp_path: Path) -> None:
    tokens, _, _ = batch(tmp_path)
    model = DiTWithText(tiny_dit(self_conditioned=True), tiny_text())
    estimates = own_estimates(model, tokens, "flow")
    assert not estimates.requires_grad and estimates.abs().max() > 0
    model(tokens, estimates).square().sum().backward()
    assert model.dit.estimate_embed.weight.grad.abs().max() > 0


def test_the_share_of_steps() -> None:
    for share in (0.0, 0.3, 1.0):
        flow = FlowConfig(self_conditioning=share)
        found = [dit_step._looks_twice(flow, 0, step) for step in range(1000)]
        assert sum(found) / 1000 == pytest.approx(share, abs=0.04 if 0 < share < 1 else 0)


def test_loss_by_noise_level(tmp_path: Path) -> None:
    """Each token's error in the band of its own level, by a plain loop."""
    for objective in ("flow", "v"):
        tokens, targets, _ = batch(tmp_path, "flow.copies=4", f"flow.objective={objective}")
        error = targets.square().mean(-1)
        found = dit_step._by_noise(error, tokens.conditions[tokens.row[tokens.wanted], 0], WORLD)
        bands: dict[str, list[float]] = {}
        for place, value in zip(tokens.wanted.tolist(), error.tolist(), strict=True):
            level = float(tokens.conditions[tokens.row[place], 0])
            bands.setdefault(f"loss_t{math.floor(4 * level) / 4:g}", []).append(value)
        assert found == pytest.approx({name: sum(values) / len(values) for name, values in bands.items()})
        assert len(found) >= 3


def test_what_is_pushed_apart(tmp_path: Path) -> None:
    """The mean state of what is to be made of each sample, by a plain loop over the samples."""
    tokens, _, _ = batch(tmp_path)
    model = DiTWithText(tiny_dit(), tiny_text())
    states = model.look(tokens, states_after=1)[1]
    assert states is not None
    wanted, means, start = set(tokens.wanted.tolist()), [], 0
    for segment in tokens.segments:
        own = [place for place in range(start, start + segment.length) if place in wanted]
        means.append(states[own].mean(0))
        start += segment.length
    pairs = [math.exp(-float((a - b).detach().square().mean())) for a in means for b in means]
    assert dit_step._apart(states, tokens).item() == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-4)


def test_which_block() -> None:
    for changes, depth, block in (
        ({}, 8, 0),
        ({"dispersive": 0.25}, 8, 2),
        ({"dispersive": 0.25}, 1, 1),
        ({"dispersive": 0.25, "dispersive_block": 5}, 8, 5),
    ):
        assert dit_step._dispersive_block(FlowConfig(**changes), depth) == block


def test_with_everything_on_stopped_is_never_stopped(tmp_path: Path, golden_numbers) -> None:
    make_cache(tmp_path)
    whole = train(tmp_path, "whole", *MORE, "loop.eval_every=3")
    with pytest.raises(Stopped):
        train(tmp_path, "parts", *MORE, "loop.eval_every=3", reporter=StopAfter(4))
    assert_same_run(whole, train(tmp_path, "parts", *MORE, "loop.eval_every=3"))
    assert len(figures(whole, "dispersive")) == 6 and all(value < 0 for value in figures(whole, "dispersive"))
    assert len(figures(whole, "fixed_loss")) == 2
    golden_numbers("losses/train_dit_v.txt", figures(whole)[:3])


def test_each_option_changes_what_is_learnt(tmp_path: Path) -> None:
    """Only self-conditioning has a weight of its own, and it learns."""
    make_cache(tmp_path)
    few = ("loop.steps=4", "loop.save_every=4")
    plain = weights(train(tmp_path, "plain", *few), 4)
    for name, changes in (
        ("self", ("flow.self_conditioning=1", "dit.self_conditioned=true")),
        ("apart", ("flow.dispersive=1.0",)),
        ("v", ("flow.objective=v",)),
    ):
        found = weights(train(tmp_path, name, *few, *changes), 4)
        more = {key for key in found.keys() - plain.keys() if key.startswith("model/")}
        assert more == ({"model/dit.estimate_embed.weight"} if name == "self" else set())
        if name == "self":
            assert found["model/dit.estimate_embed.weight"].any()
        assert not torch.equal(found["model/dit.final.weight"], plain["model/dit.final.weight"]), name


def test_recipes_that_contradict_themselves() -> None:
    for changes, said in (
        (("flow.self_conditioning=0.9",), "flow.self_conditioning = 0.9 must be 0, or dit.self_conditioned = true"),
        (("dit.self_conditioned=true",), "flow.self_conditioning = 0 must be above 0"),
        (("flow.dispersive=0.25", "flow.dispersive_block=2"), "flow.dispersive_block = 2 is above dit.depth = 1"),
        (("flow.dispersive=0.25", "samples.batch_size=1"), "samples.batch_size must be at least 2"),
        (("flow.objective=w",), "flow.objective"),
        (("sampling.guidance_interval=[0.9, 0.2]",), "0 <= low < high <= 1"),
    ):
        with pytest.raises(RecipeError) as error:
            dit_recipe(*changes)
        assert said in str(error.value)
