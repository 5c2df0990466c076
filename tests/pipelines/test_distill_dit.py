"""Distilling a DiT: stopped is never stopped, what the model says of itself, few steps that err less, refusals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from soracli.core.errors import RecipeError, Stopped, UsageError
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.diffusion.options import recommended_options
from soracli.models.dit import DiT
from soracli.models.generator import Generator, load_generator
from soracli.models.tokens import TEXT
from soracli.pipelines import dit_step
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.distill_batch import draw_taught_batch
from soracli.pipelines.distill_dit import distill_dit, plan_distillation
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_step import DiTWithText, learn
from soracli.pipelines.plan_dit import plan_dit
from soracli.pipelines.rollout import roll_out
from soracli.pipelines.train_dit import train_dit
from soracli.training.distributed import World
from soracli.training.optimiser import build_optimiser
from soracli.training.state import begin_state
from soracli.training.utilisation import Operations
from tests.pipelines.runs import StopAfter, assert_same_run, distill_recipe, dit_recipe, figures, make_cache

WORLD = World(0, 1, 0, torch.device("cpu"))
ONE_BLOCK = (
    "samples.image_share=0", "samples.latent_frames=[3]", "order.first_block=3", "order.animate=0",
    "order.backward=0", "order.between=0", "order.scattered=0", "flow.context_noise=0", "loop.save_every=1000",
    "optimiser.name=muon", "dit.depth=2",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dit_step, "_VALIDATION_SAMPLES", 8)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    make_cache(tmp_path)
    return train(tmp_path, "base", "loop.steps=2")


def train(folder: Path, name: str, *changes: str) -> Path:
    recipe = dit_recipe(*changes)
    return train_dit(recipe, latents=folder / "latents", vae=folder / "vae", out=folder / name, device="cpu")


def distill(folder: Path, name: str, *changes: str, **options: Any) -> Path:
    return distill_dit(
        distill_recipe(*changes),
        **{"latents": folder / "latents", "model": folder / "base", "out": folder / name, "device": "cpu"} | options,
    )


@pytest.mark.parametrize("changes", [(), ("samples.max_tokens=60", "samples.sequences=2", "accumulate=2")])
def test_stopped_is_never_stopped(tmp_path: Path, base: Path, changes: tuple[str, ...]) -> None:
    whole = distill(tmp_path, "whole", *changes)
    for steps in (2, 1):
        with pytest.raises(Stopped, match="SIGUSR1 after step"):
            distill(tmp_path, "parts", *changes, reporter=StopAfter(1 + steps))
    assert_same_run(whole, distill(tmp_path, "parts", *changes))
    losses = {name for name in ("plain", "guided", "steps_1", "steps_2", "steps_4") if figures(whole, f"loss_{name}")}
    assert len(losses) >= 4


def test_what_the_model_says_of_itself(tmp_path: Path, base: Path) -> None:
    run = distill(tmp_path, "run", "loop.steps=1", "loop.sample_every=1", "distill.later_guidance_scale=7")
    model = load_generator(run)
    before = load_generator(base).defaults
    assert {name: value for name, value in model.defaults.items() if before.get(name) != value} == {
        "num_steps": 4,
        "source_guidance_scale": 1.5,
        "few_steps": {
            "largest": 4,
            "guidance_scale": 10.0,
            "later_guidance_scale": 7.0,
            "source_guidance_scale": 1.5,
            "folds": True,
        },
    }
    assert recommended_options(model.defaults).takes_taught_steps
    assert (run / "samples/step_00000001.png").is_file()


def made(model: Generator, num_steps: int) -> torch.Tensor:
    """First blocks of eight seeds, guided by two evaluations unless that is folded in."""
    options = replace(
        recommended_options(model.defaults), guidance_scale=3.0, later_guidance_scale=None, num_steps=num_steps
    )
    blocks = gap_blocks(model.spec, always("a red ball rolls"), options, fps=8.0, num_latents=3)
    shown = [roll_out(model, blocks, latent_size=(4, 4), fps=8.0, seed=seed, options=options) for seed in range(8)]
    return torch.stack([torch.cat(list(parts), 1) for parts in shown])


def test_few_steps_err_less(tmp_path: Path) -> None:
    """From the same noise, against many steps of the model before it was taught, guided in the classical way."""
    make_cache(tmp_path)
    train(tmp_path, "base", *ONE_BLOCK, "loop.steps=120", "optimiser.learning_rate=0.01")
    few = ("samples.batch_size=12", "flow.copies=2", "optimiser.learning_rate=0.003", "distill.guidance_scale=4")
    run = distill(tmp_path, "run", *ONE_BLOCK, *few, "loop.steps=70", "distill.later_guidance_scale=4")
    base, taught = load_generator(tmp_path / "base"), load_generator(run)
    many = made(base, 24)
    error = {name: float((made(model, 1) - many).square().mean()) for name, model in (("b", base), ("t", taught))}
    assert error["t"] < 0.7 * error["b"], error
    # With many steps it is still that model, by its input for guidance.
    assert float((made(taught, 24) - many).square().mean()) < 0.5 * error["b"]


def test_a_step_costs_what_the_plan_says(tmp_path: Path, base: Path) -> None:
    """Operations of whole steps, counted, over those of steps of ordinary training on the same samples."""
    recipe = distill_recipe("samples.batch_size=16", "flow.copies=2").recipe
    start, cache = load_generator(base), LatentCache(tmp_path / "latents")
    sampler = LatentSampler(cache, recipe.samples)
    model = DiTWithText(DiT(recipe.dit, 4, recipe.text.hidden_size), start.text)
    model.load_state_dict(DiTWithText(start.dit, start.text).state_dict())
    model.requires_grad_(True)
    state = begin_state(model, build_optimiser(model.named_parameters(), recipe.optimiser, ("*embed*",)), recipe.loop)
    counts = {"plain": 0.0, "taught": 0.0}
    for step in range(6):
        state.step = step
        with Operations() as counter:
            learn(model, draw_batch(sampler, start.tokenizer, recipe, step, WORLD), recipe, state, WORLD)
        counts["plain"] += counter.total
        with Operations() as counter:
            batch = draw_taught_batch(sampler, start.tokenizer, recipe, state, WORLD, start, distill=recipe.distill)
            learn(model, batch, recipe, state, WORLD)
        counts["taught"] += counter.total
    paths = {"latents": tmp_path / "latents", "out": tmp_path / "run", "device": "cpu"}
    planned = plan_distillation(recipe, model=base, **paths)
    ordinary = plan_dit(dit_recipe("samples.batch_size=16", "flow.copies=2").recipe, vae=base, **paths)
    ratio = planned.flops / ordinary.flops
    assert ratio == pytest.approx(1 + 2 * (0.3 + 0.5) / 3)
    assert counts["taught"] / counts["plain"] == pytest.approx(ratio, abs=0.12)
    assert planned.memory.teacher > 0 == ordinary.memory.teacher


def test_the_samples_are_those_of_training(tmp_path: Path, base: Path) -> None:
    """The same places, texts and lengths as without lessons; what is context is the same to the bit."""
    recipe, start = distill_recipe().recipe, load_generator(base)
    sampler = LatentSampler(LatentCache(tmp_path / "latents"), recipe.samples)
    average = torch.optim.swa_utils.AveragedModel(DiTWithText(start.dit, start.text))
    state = type("State", (), {"step": 3, "ema": average, "sharding": None})()
    [(taught, targets)] = draw_taught_batch(
        sampler, start.tokenizer, recipe, state, WORLD, start, distill=recipe.distill
    )
    [(plain, _)] = draw_batch(sampler, start.tokenizer, recipe, 3, WORLD)
    for name in ("text", "order", "kind", "coordinates", "row", "wanted"):
        assert torch.equal(getattr(taught, name), getattr(plain, name)), name
    context = torch.ones(len(plain.order), dtype=torch.bool).index_fill(0, plain.wanted, False) & (plain.kind != TEXT)
    places = plain.order[context] - len(plain.text)
    assert len(places) and torch.equal(taught.patches[places], plain.patches[places])
    assert not torch.equal(taught.patches, plain.patches)
    assert targets.shape == (len(taught.wanted), 16) and not targets.requires_grad


def test_refusals(tmp_path: Path, base: Path) -> None:
    for changes, said in (
        (["flow.shift=2"], r"--set flow\.shift=1\.5 would be"),
        (["flow.objective=v"], r"--set flow\.objective=flow would be"),
        (["dit.edits=true"], r"not trained to edit, .*--set dit\.edits=false --set samples\.edit_share=0"),
        (["dit.depth=3"], r"--set dit\.depth=1 would build that"),
    ):
        with pytest.raises(UsageError, match=said):
            distill(tmp_path, "none", *changes)
    for changes, said in (
        (["distill.largest=6"], r"largest \(6\) must be a power of two"),
        (["distill.guided=0.7"], "shares of one whole"),
        (["samples.token_drop=0.5"], r"samples\.token_drop = 0\.5 must be 0"),
        (["sampling.num_steps=3"], r"sampling\.num_steps = 3 is not taught"),
        (["sampling.sampler=heun"], r"sampling\.sampler = heun must be euler"),
        (["sampling.guidance_scale=12"], r"sampling\.guidance_scale = 12 is not taught: .* folds in 1 to 10"),
        (["loop.ema_decays=[0.9, 0.99]"], "one average teaches"),
    ):
        with pytest.raises(RecipeError, match=said):
            distill(tmp_path, "none", *changes)
    assert not (tmp_path / "none").exists()
    distill(tmp_path, "run", "loop.steps=1")
    with pytest.raises(RecipeError, match=r"distill\.guided"):
        distill(tmp_path, "run", "loop.steps=2", "distill.guided=0.1")
    train(tmp_path, "other", "loop.steps=1")
    with pytest.raises(RecipeError, match="init"):
        distill(tmp_path, "run", "loop.steps=2", model=tmp_path / "other")
