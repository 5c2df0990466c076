"""The model that a training of a DiT leaves behind, and pictures of it on the way."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from tokenizers import Tokenizer
from torch import nn

from soracli.data.latent_samples import shown_size
from soracli.data.latents import LatentCache
from soracli.diffusion.options import FewSteps
from soracli.models.generator import load_generator, save_dit
from soracli.models.store import copy_vae
from soracli.models.tokenizer import PairedTokenizer
from soracli.pipelines.dit_adapter import averaged_model, write_adapter
from soracli.pipelines.dit_step import DiTWithText
from soracli.pipelines.recipes import DitDistillRecipe, DitTrainRecipe
from soracli.pipelines.training_samples import show_samples
from soracli.training.device import DTYPES
from soracli.training.distributed import World
from soracli.training.run_folder import RunFolder
from soracli.training.state import TrainState


def show_draft(
    state: TrainState,
    averaged: nn.Module | None,
    tokenizer: Tokenizer | PairedTokenizer,
    cache: LatentCache,
    recipe: DitTrainRecipe,
    run: RunFolder,
    vae: Path,
    world: World,
) -> None:
    """Make a few videos with the averaged weights and leave a picture of them in the run's ``samples``.

    ``averaged`` is ``state.whole_average()``, here and below.
    """
    run.check_there()
    draft = run.path / "preview"
    write_model(draft, state, averaged, tokenizer, cache, recipe, vae)
    assert isinstance(averaged, DiTWithText)
    # Not once more: a frozen text encoder may be the largest thing in memory.
    model = load_generator(draft, world.device, frozen=averaged.text.frozen)
    show_samples(model, run.samples / f"step_{state.step:08d}.png")
    shutil.rmtree(draft)


def finish(
    run: RunFolder,
    state: TrainState,
    averaged: nn.Module | None,
    tokenizer: Tokenizer | PairedTokenizer,
    cache: LatentCache,
    recipe: DitTrainRecipe,
    vae: Path,
    init: Path | None,
) -> str:
    """Leave what the run was for: a whole model, or the adapter of the one it began from."""
    if recipe.lora.rank and init is not None:
        return write_adapter(run.model, state, averaged, cache, recipe, _facts(state, cache, recipe), init)
    return write_model(run.model, state, averaged, tokenizer, cache, recipe, vae)


def write_model(
    folder: Path,
    state: TrainState,
    averaged: nn.Module | None,
    tokenizer: Tokenizer | PairedTokenizer,
    cache: LatentCache,
    recipe: DitTrainRecipe,
    vae: Path,
) -> str:
    """The averaged weights, with the VAE beside them: a whole model."""
    merged = averaged_model(state, averaged, recipe, cache.spec.channels)
    folder.mkdir(parents=True, exist_ok=True)
    copy_vae(vae, folder / "vae", cache.spec)
    return save_dit(
        folder,
        merged.dit.state_dict(),
        recipe.dit,
        merged.text,
        tokenizer,
        cache.spec,
        _facts(state, cache, recipe),
        DTYPES[recipe.loop.store],
    )


def few_step_defaults(recipe: DitDistillRecipe) -> dict[str, object]:
    """What was taught of few steps, as ``SamplingOptions`` reads it."""
    taught = recipe.distill
    few = FewSteps(
        largest=taught.largest,
        guidance_scale=taught.guidance_scale,
        later_guidance_scale=taught.later_guidance_scale,
        source_guidance_scale=taught.source_guidance_scale,
    )
    return {"few_steps": asdict(few), "source_guidance_scale": taught.source_guidance_scale}


def _facts(state: TrainState, cache: LatentCache, recipe: DitTrainRecipe) -> dict[str, object]:
    """What the model is best used with, and what made it."""
    first = next((entry for entry in cache.entries if entry.shape[1] > 1), cache.entries[0])
    rows, columns = cache.spec.compression[1:]
    height, width = shown_size(first.shape, recipe.samples)
    # What was trained: a sample is never longer than its video.
    longest = min(max(recipe.samples.latent_frames), max(entry.shape[1] for entry in cache.entries))
    defaults = {
        "fps": first.fps,
        "size": [height * rows, width * columns],
        "objective": recipe.flow.objective,
        "shift": recipe.flow.shift,
        **recipe.sampling.model_dump(),
        "first_block": recipe.order.first_block,
        "block": recipe.order.block,
        "window": max(1, longest - recipe.order.block),
    }
    if isinstance(recipe, DitDistillRecipe):
        defaults |= few_step_defaults(recipe)
    return {"defaults": defaults, "trained": {"steps": state.step, "seed": recipe.loop.seed}}
