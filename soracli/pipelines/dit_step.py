"""One update of a DiT and its text encoder, and what is measured of both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from soracli.data.latent_samples import LatentSampler
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokenizer import PairedTokenizer
from soracli.models.tokens import Tokens
from soracli.pipelines.dit_batch import draw_sample, loss_weights, pack_batch
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.device import mixed_precision
from soracli.training.distributed import World, all_mean, average_gradients
from soracli.training.seeding import generator_for
from soracli.training.state import TrainState

_BANDS = 4
"""Bands of noise level that the loss is reported by."""
_VALIDATION_SAMPLES = 64


class DiTWithText(nn.Module):
    """The DiT and the text encoder that learns with it."""

    def __init__(self, dit: DiT, text: TextEncoder) -> None:
        super().__init__()
        self.dit = dit
        self.text = text

    def forward(self, tokens: Tokens) -> Tensor:
        """Velocities ``(Ln, P)`` of the wanted tokens."""
        velocities: Tensor = self.dit(tokens, self.text(tokens.text, tokens.text_lengths))[0]
        return velocities


Batch = Sequence[tuple[Tokens, Tensor]]
"""This rank's share of a step in parts: a packed sequence and its targets ``(Ln, P)``, walked through one by one."""


def learn(
    model: DiTWithText, batch: Batch, recipe: DitTrainRecipe, state: TrainState, world: World
) -> dict[str, float]:
    """One update; the loss is the mean over the wanted tokens of all parts and ranks, by ``samples.loss_weights``."""
    total_weight = sum(float(loss_weights(part, recipe.samples.loss_weights).sum()) for part, _ in batch)
    errors, weights, levels = [], [], []
    for part, part_targets in batch:
        tokens, targets = part.to(world.device), part_targets.to(world.device)
        loss, error, weight = part_loss(model, tokens, targets, recipe, world)
        (loss * (weight.sum() / total_weight)).backward()
        errors.append(error)
        weights.append(weight)
        levels.append(tokens.conditions[tokens.row[tokens.wanted], 0])
    error, weight, level = torch.cat(errors), torch.cat(weights), torch.cat(levels)  # 3 (Ln,)
    average_gradients(model.parameters(), world, weight=total_weight)
    total, count = all_mean([float((weight * error).sum()), float(weight.sum())], world)
    figures = {"loss": total / count, **_by_noise(error, level)}
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.average()
    return {**figures, "tokens": float(sum(len(tokens.order) for tokens, _ in batch)), **report.figures()}


def part_loss(
    model: DiTWithText, tokens: Tokens, targets: Tensor, recipe: DitTrainRecipe, world: World
) -> tuple[Tensor, Tensor, Tensor]:
    """What is walked back through for one part, a weighted mean over its wanted tokens.

    Returns:
        It, and the error and the weight ``(Ln,)`` of each of those tokens.
    """
    with mixed_precision(recipe.loop.precision, world.device):
        velocities = model(tokens)
    error = (velocities.float() - targets).square().mean(-1)  # (Ln,)
    weight = loss_weights(tokens, recipe.samples.loss_weights)  # (Ln,)
    return (weight * error).sum() / weight.sum(), error.detach(), weight


def _by_noise(error: Tensor, level: Tensor) -> dict[str, float]:
    """Mean error of tokens in each band of noise levels that has any."""
    band = (level * _BANDS).long().clamp(max=_BANDS - 1)
    return {
        f"loss_t{number / _BANDS:g}": float(error[band == number].mean())
        for number in range(_BANDS)
        if bool((band == number).any())
    }


@torch.no_grad()
def validate(
    model: nn.Module,
    sampler: LatentSampler,
    tokenizer: Tokenizer | PairedTokenizer,
    recipe: DitTrainRecipe,
    world: World,
) -> dict[str, float]:
    """The averaged weights on a fixed set of samples with fixed noise: comparable from step to step."""
    drawn = [
        draw_sample(sampler, tokenizer, recipe, generator_for(recipe.loop.seed, "validation", number))
        for number in range(_VALIDATION_SAMPLES)
    ]
    tokens, targets = pack_batch(drawn, sampler, recipe)
    with mixed_precision(recipe.loop.precision, world.device):
        velocities = model(tokens.to(world.device))
    error = (velocities.float() - targets.to(world.device)).square().mean(-1)
    return {"fixed_loss": float(error.mean())}
