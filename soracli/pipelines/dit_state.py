"""A training of a DiT before its first step: model, averages and optimiser, on each rank or between ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import nn

from soracli.models.dit import DiT
from soracli.models.generator import Generator
from soracli.models.text_encoder import TextEncoder
from soracli.models.text_frozen import FrozenText
from soracli.pipelines.dit_adapter import adapt
from soracli.pipelines.dit_start import begin_from
from soracli.pipelines.dit_step import DiTWithText
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.device import product_dtype
from soracli.training.distributed import World
from soracli.training.ema import average_name, build_averages
from soracli.training.optimiser import build_optimiser
from soracli.training.seeding import seed_global
from soracli.training.sharding import Sharding, empty_copy, shard
from soracli.training.state import TrainState


def build_state(
    recipe: DitTrainRecipe,
    channels: int,
    world: World,
    *,
    sharding: Sharding | None = None,
    frozen: FrozenText | None = None,
    start: Generator | None = None,
    init: Path | None = None,
) -> TrainState:
    """Build it.

    Args:
        recipe: The training's.
        channels: Of the latents.
        world: All ranks build the same.
        sharding: Who holds what, if ranks hold it between them.
        frozen: The frozen text encoder that the recipe names.
        start: The model to begin from.
        init: Where that is.

    Raises:
        UsageError: As ``adapt``.
    """
    seed_global(recipe.loop.seed, "weights")
    model = DiTWithText(DiT(recipe.dit, channels, recipe.text.hidden_size), TextEncoder(recipe.text, frozen))
    if start is not None:
        begin_from(model, start)
    fixed = adapt(model, recipe, init)
    if sharding is None:  # else a device never has room for more than a unit and its rows of the rest
        model.to(world.device)
    averages = build_averages(model, recipe.loop.ema_decay, recipe.loop.ema_decays)
    empty = None if sharding is None else empty_copy(model)
    model.dit.checkpoints_activations = recipe.checkpoint_activations
    if recipe.compile:
        for block in model.dit.blocks:
            block.compile(dynamic=True)
    if sharding is not None:
        for each in (model, *(average.module for average in averages.values())):
            shard(units_of(each), sharding, ("read",))
    optimiser = build_optimiser(
        model.named_parameters(),
        recipe.optimiser,
        ("*embed*", "final*", "lora_*"),
        product_dtype(recipe.loop.precision, world.device),
    )
    return TrainState(
        model,
        averages[average_name(recipe.loop.ema_decay, recipe.loop.ema_decays)],
        optimiser,
        averages=averages,
        fixed=fixed,
        sharding=sharding,
        empty=empty,
    )


def units_of(model: nn.Module) -> Iterator[nn.Module]:
    """What of a DiT with its text encoder is gathered and computed together; those inside others come first.

    All texts are read by all cross-attentions before the first block, so these are units of their own.
    """
    assert isinstance(model, DiTWithText)
    for block in model.dit.blocks:
        if block.cross is not None:
            yield block.cross  # type: ignore[misc]
        yield block
    yield from (model.dit, model.text)
