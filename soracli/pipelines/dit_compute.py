"""What a training of a DiT computes, counted: so that trainings can be compared at equal work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.models.text_frozen import open_frozen
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_start import learn_tokenizer
from soracli.pipelines.dit_step import DiTWithText, learn
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.device import product_dtype
from soracli.training.distributed import open_world
from soracli.training.optimiser import build_optimiser
from soracli.training.seeding import seed_global
from soracli.training.state import begin_state
from soracli.training.utilisation import Operations


@dataclass(frozen=True)
class UpdateWork:
    """Mean updates of a training.

    Attributes:
        flop_per_token: Operations of whole updates over the tokens in them.
        tokens: Of an update.
    """

    flop_per_token: float
    tokens: float

    def steps(self, flop: float) -> int:
        """How many such updates come nearest to so many operations; at least one."""
        return max(1, round(flop / (self.flop_per_token * self.tokens)))


def count_updates(
    recipe: DitTrainRecipe, latents: Path, *, device: str = "auto", counted: int = 4, drawn: int = 64
) -> UpdateWork:
    """Count first updates of a fresh model: forward, backward, and what the optimiser multiplies.

    Args:
        recipe: The training's.
        latents: A cache of ``sora latents cache``.
        device: As ``--device``.
        counted: Updates that are done, on batches of the training.
        drawn: Updates whose batches are drawn for the mean of their tokens, which differ from one to the next.

    Raises:
        SoraError: For anything a user can put right.
    """
    cache, frozen = LatentCache(latents), open_frozen(recipe.text, fetch=True)
    sampler, tokenizer = LatentSampler(cache, recipe.samples), learn_tokenizer(cache, recipe, frozen)
    with open_world(device) as world:
        seed_global(recipe.loop.seed, "weights")
        dit = DiT(recipe.dit, cache.spec.channels, recipe.text.hidden_size)
        model = DiTWithText(dit, TextEncoder(recipe.text, frozen)).to(world.device)
        dtype = product_dtype(recipe.loop.precision, world.device)
        optimiser = build_optimiser(model.named_parameters(), recipe.optimiser, ("*embed*", "final*"), dtype)
        state = begin_state(model, optimiser, recipe.loop)
        operations = tokens = 0.0
        for state.step in range(counted):
            batch = draw_batch(sampler, tokenizer, recipe, state.step, world)
            with Operations() as counter:
                tokens += learn(model, batch, recipe, state, world)["tokens"]
            operations += counter.total
        batches = [draw_batch(sampler, tokenizer, recipe, step, world) for step in range(drawn)]
    return UpdateWork(operations / tokens, fmean(sum(len(part.order) for part, _ in batch) for batch in batches))
