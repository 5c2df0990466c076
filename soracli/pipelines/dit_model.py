"""The model that a training of a DiT leaves behind, and pictures of it on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

from tokenizers import Tokenizer

from soracli.data.latents import LatentCache
from soracli.models.generator import load_generator, save_dit
from soracli.models.store import copy_vae
from soracli.pipelines.dit_step import DiTWithText
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.pipelines.training_samples import show_samples
from soracli.training.device import DTYPES
from soracli.training.distributed import World
from soracli.training.run_folder import RunFolder
from soracli.training.state import TrainState


def show_draft(
    state: TrainState,
    tokenizer: Tokenizer,
    cache: LatentCache,
    recipe: DitTrainRecipe,
    run: RunFolder,
    vae: Path,
    world: World,
) -> None:
    """Make a few videos with the averaged weights and leave a picture of them in the run's ``samples``."""
    draft = run.path / "preview"
    write_model(draft, state, tokenizer, cache, recipe, vae)
    show_samples(load_generator(draft, world.device), run.samples / f"step_{state.step:08d}.png")
    shutil.rmtree(draft)


def write_model(
    folder: Path, state: TrainState, tokenizer: Tokenizer, cache: LatentCache, recipe: DitTrainRecipe, vae: Path
) -> str:
    """The averaged weights, with the VAE beside them: a whole model."""
    averaged = state.ema.module
    assert isinstance(averaged, DiTWithText)
    folder.mkdir(parents=True, exist_ok=True)
    copy_vae(vae, folder / "vae", cache.spec)
    first = next((entry for entry in cache.entries if entry.shape[1] > 1), cache.entries[0])
    rows, columns = cache.spec.compression[1:]
    # What was trained: a sample is never longer than its video.
    longest = min(max(recipe.samples.latent_frames), max(entry.shape[1] for entry in cache.entries))
    defaults = {
        "fps": first.fps,
        "size": [first.shape[2] * rows, first.shape[3] * columns],
        "objective": recipe.flow.objective,
        "shift": recipe.flow.shift,
        **recipe.sampling.model_dump(),
        "first_block": recipe.order.first_block,
        "block": recipe.order.block,
        "window": max(1, longest - recipe.order.block),
    }
    facts = {"defaults": defaults, "trained": {"steps": state.step, "seed": recipe.loop.seed}}
    return save_dit(
        folder,
        averaged.dit.state_dict(),
        recipe.dit,
        averaged.text,
        tokenizer,
        cache.spec,
        facts,
        DTYPES[recipe.loop.store],
    )
