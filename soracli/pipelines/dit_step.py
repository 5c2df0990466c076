"""One update of a DiT and its text encoder, and what is measured of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from soracli.data.latent_samples import LatentSampler
from soracli.diffusion.config import FlowConfig
from soracli.diffusion.dispersive import dispersive_loss, mean_by_sample
from soracli.diffusion.objective import predicted_data
from soracli.diffusion.options import ObjectiveName
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokenizer import PairedTokenizer
from soracli.models.tokens import Tokens
from soracli.pipelines.dit_batch import draw_sample, loss_weights, pack_batch
from soracli.pipelines.recipes import DitDistillRecipe, DitTrainRecipe
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

    def forward(self, tokens: Tokens, estimates: Tensor | None = None) -> Tensor:
        """Predictions ``(Ln, P)`` of the wanted tokens; arguments as ``look``."""
        return self.look(tokens, estimates)[0]

    def look(
        self, tokens: Tokens, estimates: Tensor | None = None, states_after: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """One pass.

        Args:
            tokens: The sequence.
            estimates: ``(Lv, P)`` of ``own_estimates``, if the model is to see them.
            states_after: Which block's states are wanted, from 1; 0 for none.

        Returns:
            Predictions ``(Ln, P)`` of the wanted tokens, and the states ``(L, D)``.
        """
        text_states = self.text(tokens.text, tokens.text_lengths)
        predictions, past = self.dit(tokens, text_states, estimates=estimates, states_after=states_after)
        return predictions, past.states


@torch.no_grad()
def own_estimates(model: nn.Module, tokens: Tokens, objective: ObjectiveName) -> Tensor:
    """What a model says of the data behind patches: ``(Lv, P)``, 0 at those that are not to be made.

    No gradient goes through it. Source: self-conditioning (Chen et al. 2022, arXiv:2208.04202, section 3.2).
    """
    places = tokens.order[tokens.wanted] - len(tokens.text)
    level = tokens.conditions[tokens.row[tokens.wanted], :1]
    said = predicted_data(objective, tokens.patches[places], model(tokens).float(), level)
    return torch.zeros_like(tokens.patches).index_copy(0, places, said)


Batch = Sequence[tuple[Tokens, Tensor]]
"""This rank's share of a step in parts: a packed sequence and its targets ``(Ln, P)``, walked through one by one."""


def learn(
    model: DiTWithText, batch: Batch, recipe: DitTrainRecipe, state: TrainState, world: World
) -> dict[str, float]:
    """One update; the loss is the mean over the wanted tokens of all parts and ranks, by ``samples.loss_weights``.

    What ``flow.dispersive`` adds is learnt from but not part of the reported ``loss``.
    """
    own_weight = sum(float(loss_weights(part, recipe.samples.loss_weights).sum()) for part, _ in batch)
    # Gradients are averaged over ranks, so that those of unequal shares must be so already before the way back.
    [mean_weight] = all_mean([own_weight], world)
    twice = _looks_twice(recipe.flow, recipe.loop.seed, state.step)
    done, told = [], []
    for part, part_targets in batch:
        tokens, targets = part.to(world.device), part_targets.to(world.device)
        found = part_loss(model, tokens, targets, recipe, world, twice=twice)
        (found.loss * (found.weight.sum() / mean_weight)).backward()
        done.append(found)
        told.append(tokens.conditions[tokens.row[tokens.wanted]])
    average_gradients(model.parameters(), world)
    error, weight = torch.cat([part.error for part in done]), torch.cat([part.weight for part in done])  # 2 (Ln,)
    apart = sum(float(part.weight.sum()) * part.apart for part in done)
    length = float(sum(len(tokens.order) for tokens, _ in batch))
    total, count, apart, length = all_mean([float((weight * error).sum()), float(weight.sum()), apart, length], world)
    conditions = torch.cat(told)  # (Ln, 3)
    figures = {"loss": total / count, **_by_noise(error, conditions[:, 0], world)}
    if isinstance(recipe, DitDistillRecipe):
        figures |= _by_lesson(error, conditions[:, 1:], recipe.distill.largest, world)
    figures |= {"dispersive": apart / count} if recipe.flow.dispersive else {}
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.average()
    return {**figures, "tokens": float(round(length * world.size)), **report.figures()}


@dataclass(frozen=True)
class PartLoss:
    """What one part of a step costs.

    Attributes:
        loss: What is walked back through: a weighted mean over its wanted tokens, and the dispersive loss.
        error: ``(Ln,)`` of each of those tokens.
        weight: ``(Ln,)`` of each.
        apart: The dispersive loss, unweighted; 0 without.
    """

    loss: Tensor
    error: Tensor
    weight: Tensor
    apart: float


def part_loss(
    model: DiTWithText, tokens: Tokens, targets: Tensor, recipe: DitTrainRecipe, world: World, *, twice: bool = False
) -> PartLoss:
    """What one part costs; ``twice``: the model sees its own estimates."""
    flow = recipe.flow
    with mixed_precision(recipe.loop.precision, world.device, keeps_copies=recipe.shard_ranks == 1):
        estimates = own_estimates(model, tokens, flow.objective) if twice else None
        predictions, states = model.look(tokens, estimates, _dispersive_block(flow, recipe.dit.depth))
    error = (predictions.float() - targets).square().mean(-1)  # (Ln,)
    weight = loss_weights(tokens, recipe.samples.loss_weights)  # (Ln,)
    loss, apart = (weight * error).sum() / weight.sum(), 0.0
    if states is not None:
        dispersive = _apart(states, tokens)
        loss, apart = loss + flow.dispersive * dispersive, float(dispersive.detach())
    return PartLoss(loss, error.detach(), weight, apart)


def _looks_twice(flow: FlowConfig, seed: int, step: int) -> bool:
    """Whether the model sees its own estimates at a step: the same on every rank."""
    if not flow.self_conditioning:
        return False
    return float(torch.rand(1, generator=generator_for(seed, "self-conditioning", step))) < flow.self_conditioning


def _dispersive_block(flow: FlowConfig, depth: int) -> int:
    """Which block the dispersive loss looks at, from 1; 0 without it."""
    return (flow.dispersive_block or max(1, round(depth / 4))) if flow.dispersive else 0


def _apart(states: Tensor, tokens: Tokens) -> Tensor:
    """The dispersive loss of the samples of a sequence, each as the mean of what is to be made of it."""
    lengths = torch.tensor([segment.length for segment in tokens.segments], device=states.device)
    sample = torch.arange(len(lengths), device=states.device).repeat_interleave(lengths)  # (L,)
    wanted = tokens.wanted
    return dispersive_loss(mean_by_sample(states[wanted], sample[wanted], len(lengths)))


def _by_noise(error: Tensor, level: Tensor, world: World) -> dict[str, float]:
    """Mean error of tokens in each band of noise levels that has any, over all ranks."""
    band = (level * _BANDS).long().clamp(max=_BANDS - 1)
    return _by_band(error, band, [f"loss_t{number / _BANDS:g}" for number in range(_BANDS)], world)


def _by_lesson(error: Tensor, told: Tensor, largest: int, world: World) -> dict[str, float]:
    """The same by what tokens are taught: as by the data, guidance, or one of so many steps.

    ``told`` are step size and guidance, ``(Ln, 2)``.
    """
    size, guidance = told.unbind(-1)
    power = -size.clamp(min=1 / largest).log2().round().long()
    band = torch.where(size > 0, 2 + power, (guidance > 0).long())
    names = ["loss_plain", "loss_guided", *(f"loss_steps_{2**each}" for each in range(largest.bit_length()))]
    return _by_band(error, band, names, world)


def _by_band(error: Tensor, band: Tensor, names: Sequence[str], world: World) -> dict[str, float]:
    """Mean error of the tokens of each band that has any, by its name, over all ranks."""
    sums = torch.bincount(band, error.double(), len(names)).tolist()
    found = all_mean([*sums, *torch.bincount(band, minlength=len(names)).tolist()], world)
    bands = zip(names, found[: len(names)], found[len(names) :], strict=True)
    return {name: total / count for name, total, count in bands if count}


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
        tokens = tokens.to(world.device)
        twice = recipe.flow.self_conditioning > 0  # as it will be sampled
        estimates = own_estimates(model, tokens, recipe.flow.objective) if twice else None
        predictions = model(tokens, estimates)
    error = (predictions.float() - targets.to(world.device)).square().mean(-1)
    return {"fixed_loss": float(error.mean())}
