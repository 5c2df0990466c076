"""A training of a DiT that leaves the model it begins from as it is and learns an adapter."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from soracli.core.errors import UsageError
from soracli.data.latents import LatentCache
from soracli.models.adapter import save_adapter
from soracli.models.dit import DiT
from soracli.models.lora import add_adapters, merge_adapter
from soracli.models.record import base_of, part_folder, read_record
from soracli.models.text_encoder import TextEncoder
from soracli.models.text_frozen import FrozenText
from soracli.pipelines.dit_step import DiTWithText
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.device import DTYPES
from soracli.training.seeding import generator_for
from soracli.training.state import TrainState


def adapt(model: DiTWithText, recipe: DitTrainRecipe, init: Path | None) -> frozenset[str]:
    """Give a model the adapters of a recipe, if it asks for any.

    Returns:
        The names of weights that stay as they are in the model it begins from.

    Raises:
        UsageError: If there is no model to adapt, or a pattern names nothing in it.
    """
    if not recipe.lora.rank:
        return frozenset()
    if init is None:
        raise UsageError(
            f"lora.rank = {recipe.lora.rank} adapts a model: name it with --init, as in --init nano; "
            "with lora.rank = 0 a model is trained from nothing"
        )
    learning = add_adapters(model, recipe.lora, generator_for(recipe.loop.seed, "lora"))
    return frozenset(model.state_dict()) - frozenset(learning)


def check_adapters(recipe: DitTrainRecipe, init: Path | None, channels: int, frozen: FrozenText | None) -> DiTWithText:
    """Whether the recipe's adapters fit its model, before anything is built.

    Returns:
        The model with them, without memory for weights.

    Raises:
        UsageError: As ``adapt``.
    """
    with torch.device("meta"):
        model = DiTWithText(DiT(recipe.dit, channels, recipe.text.hidden_size), TextEncoder(recipe.text, frozen))
    adapt(model, recipe, init)
    return model


def averaged_model(state: TrainState, averaged: nn.Module | None, recipe: DitTrainRecipe, channels: int) -> DiTWithText:
    """``state.whole_average()`` as a model without adapters: they are added to what they adapt."""
    assert isinstance(averaged, DiTWithText)
    if not recipe.lora.rank:
        return averaged
    weights = averaged.state_dict()
    adapter = {name: tensor for name, tensor in weights.items() if name not in state.fixed}
    merged = DiTWithText(
        DiT(recipe.dit, channels, recipe.text.hidden_size), TextEncoder(recipe.text, averaged.text.frozen)
    )
    merged.load_state_dict(merge_adapter(weights, adapter, recipe.lora.alpha / recipe.lora.rank))
    return merged


def write_adapter(
    folder: Path,
    state: TrainState,
    averaged: nn.Module | None,
    cache: LatentCache,
    recipe: DitTrainRecipe,
    facts: dict[str, object],
    init: Path,
) -> str:
    """Leave the averaged adapter, with the hashes of the model it belongs to; returns its own."""
    assert averaged is not None
    base = base_of(read_record(part_folder(init, "dit"), "dit"))
    tensors = {name: tensor for name, tensor in averaged.state_dict().items() if name not in state.fixed}
    facts = {"latents": cache.spec.to_dict(), **facts}
    return save_adapter(folder, tensors, recipe.lora, base, facts, DTYPES[recipe.loop.store])
