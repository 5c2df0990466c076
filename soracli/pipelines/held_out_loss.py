"""The loss of a finished model on a cache that it was not trained on: the same samples and noise for every model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from soracli.data.config import LatentSamplesConfig
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.generator import load_generator
from soracli.pipelines.dit_batch import draw_sample, pack_batch
from soracli.pipelines.dit_start import check_vae
from soracli.pipelines.dit_step import DiTWithText, part_loss
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.distributed import World
from soracli.training.seeding import generator_for

BANDS = 4
"""Bands of noise level."""
_PACKED = 16
"""Samples in one sequence."""


@dataclass(frozen=True)
class HeldOutLoss:
    """What predicting costs.

    Attributes:
        mean: Over all tokens that are to be made.
        by_noise: Over those of each band of noise levels, from data to noise; None where none has such a level.
    """

    mean: float
    by_noise: tuple[float | None, ...]


@torch.no_grad()
def held_out_loss(
    model: Path, cache: Path, recipe: DitTrainRecipe, samples: LatentSamplesConfig, *, count: int, world: World
) -> HeldOutLoss:
    """Measure a model; samples are drawn by their numbers alone, every one with its text.

    Args:
        model: A model folder or a finished run.
        cache: Latents of the model's VAE.
        recipe: Of the model's training: how noise is mixed in, what is predicted, in which numbers.
        samples: What is drawn of the cache, whatever the training drew.
        count: Samples.
        world: Where to compute.

    Raises:
        ArtifactError: If there is no whole model, or the cache is of another VAE.
    """
    held_out = LatentCache(cache)
    check_vae(held_out, model)
    generator = load_generator(model, world.device)
    both = DiTWithText(generator.dit, generator.text)
    flow = recipe.flow.model_copy(update={"text_dropout": 0.0})
    asked = recipe.model_copy(update={"samples": samples, "flow": flow})
    sampler = LatentSampler(held_out, samples)
    errors, levels = [], []
    for first in range(0, count, _PACKED):
        drawn = [
            draw_sample(sampler, generator.tokenizer, asked, generator_for(0, "held out", number))
            for number in range(first, min(first + _PACKED, count))
        ]
        packed, packed_targets = pack_batch(drawn, sampler, asked)
        tokens, targets = packed.to(world.device), packed_targets.to(world.device)
        twice = flow.self_conditioning > 0  # as it will be sampled
        errors.append(part_loss(both, tokens, targets, asked, world, twice=twice).error.double().cpu())
        levels.append(tokens.conditions[tokens.row[tokens.wanted], 0].cpu())
    error = torch.cat(errors)  # (Ln,)
    band = (torch.cat(levels) * BANDS).long().clamp(max=BANDS - 1)  # (Ln,)
    parts = [error[band == number] for number in range(BANDS)]
    return HeldOutLoss(float(error.mean()), tuple(float(part.mean()) if len(part) else None for part in parts))
