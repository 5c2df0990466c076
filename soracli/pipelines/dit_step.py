"""One update of a DiT and its text encoder, and what is measured of both."""

from __future__ import annotations

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


def learn(
    model: DiTWithText, tokens: Tokens, targets: Tensor, recipe: DitTrainRecipe, state: TrainState, world: World
) -> dict[str, float]:
    """One update; the loss is the mean over the wanted tokens of all ranks, weighted by ``samples.loss_weights``."""
    with mixed_precision(recipe.loop.precision, world.device):
        velocities = model(tokens)
    error = (velocities.float() - targets).square().mean(-1)  # (Ln,)
    weights = loss_weights(tokens, recipe.samples.loss_weights)  # (Ln,)
    weighted = (weights * error).sum()
    (weighted / weights.sum()).backward()
    average_gradients(model.parameters(), world, weight=float(weights.sum()))
    total, count = all_mean([float(weighted.detach()), float(weights.sum())], world)
    figures = {"loss": total / count, **_by_noise(error.detach(), tokens)}
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.ema.update_parameters(model)
    return {
        **figures,
        "tokens": float(len(tokens.order)),
        "learning_rate": report.learning_rate,
        "gradient_norm": report.gradient_norm,
    }


def _by_noise(error: Tensor, tokens: Tokens) -> dict[str, float]:
    """Mean error of tokens in each band of noise levels that has any."""
    level = tokens.conditions[tokens.row[tokens.wanted], 0]
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
