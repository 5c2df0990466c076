"""How fast a training of a DiT goes, step by step: tokens, samples, padding, and how much of the machine it uses."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer

from soracli.data.latent_samples import LatentSampler
from soracli.models.tokenizer import PairedTokenizer
from soracli.models.tokens import Tokens
from soracli.pipelines.dit_batch import draw_sample, pack_batch
from soracli.pipelines.dit_step import Batch, DiTWithText, part_loss
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.device import product_dtype
from soracli.training.distributed import World
from soracli.training.seeding import generator_for
from soracli.training.utilisation import Operations, product_rate

_COUNTED_SAMPLES = 8
_REMEMBERED_STEPS = 100


@dataclass(frozen=True)
class Work:
    """What a sample of L tokens costs: ``by_token * L + by_pair * L**2`` operations, forward and back.

    Attributes:
        by_token: Of layers that see tokens one by one.
        by_pair: Of attention, which sees them two by two.
    """

    by_token: float
    by_pair: float

    def of(self, tokens: Tokens) -> float:
        """Operations of a packed sequence."""
        return sum(self.by_token * part.length + self.by_pair * part.length**2 for part in tokens.segments)


@dataclass
class Speedometer:
    """Figures of steps as they are done.

    Attributes:
        work: What samples cost.
        rate: Operations a second of this machine's matrix products.
        world: All ranks; the figures are this rank's, and rates those of all as if they were like it.
        steps: Of the whole run.
        places: Tokens that a step has room for on this rank, with ``samples.max_tokens``; 0: as many as there are.
        ends: When the last steps ended.
    """

    work: Work
    rate: float
    world: World
    steps: int
    places: int = 0
    ends: deque[float] = field(default_factory=lambda: deque([time.perf_counter()], maxlen=_REMEMBERED_STEPS))

    def figures(self, batch: Batch, seconds: float, step: int) -> dict[str, float]:
        """Figures of one step that took so long; ``step`` are done with it."""
        sequences = [tokens for tokens, _ in batch]
        real = sum(len(tokens.text) + len(tokens.patches) for tokens in sequences)
        places = self.places or sum(len(tokens.order) for tokens in sequences)
        self.ends.append(time.perf_counter())
        pace = (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)
        return {
            "tokens_per_second": self.world.size * real / seconds,
            "samples_per_second": self.world.size * sum(len(tokens.text_lengths) for tokens in sequences) / seconds,
            "padding": 1 - real / places,
            "utilisation": sum(map(self.work.of, sequences)) / seconds / self.rate,
            "seconds_left": pace * (self.steps - step),
        }


def shown(figures: dict[str, float], skipped_updates: float) -> dict[str, float | str]:
    """Those of a step that stand beside the bar, which shows the time left by itself."""
    said: dict[str, float | str] = {
        "tokens_per_second": round(figures["tokens_per_second"]),
        "samples_per_second": figures["samples_per_second"],
        "padding": f"{figures['padding']:.1%}",
        "utilisation": f"{figures['utilisation']:.0%}",
    }
    return said | ({"skipped": skipped_updates} if skipped_updates else {})


def build_speedometer(
    model: DiTWithText,
    sampler: LatentSampler,
    tokenizer: Tokenizer | PairedTokenizer,
    recipe: DitTrainRecipe,
    batch: Batch,
    world: World,
) -> Speedometer:
    """Measure what samples cost and what the machine can do; takes a second or two and changes nothing.

    Args:
        model: Without gradients.
        sampler: Draws the samples whose operations are counted, each alone.
        tokenizer: For their texts.
        recipe: The run's.
        batch: The first one; the machine is measured on its shapes.
        world: All ranks.
    """
    generators = [generator_for(recipe.loop.seed, "work", number) for number in range(_COUNTED_SAMPLES)]
    drawn = [draw_sample(sampler, tokenizer, recipe, generator) for generator in generators]
    work = count_work(model, [pack_batch([sample], sampler, recipe) for sample in drawn], recipe, world)
    tokens, targets = batch[0]
    with torch.no_grad(), Operations() as counter:
        part_loss(model, tokens.to(world.device), targets.to(world.device), recipe, world)
    # A pass of the teacher is a third of a step: forward, not back.
    share = 1 + recipe.teacher_passes / 3
    work = Work(share * work.by_token, share * work.by_pair)
    rate = product_rate(counter.products, product_dtype(recipe.loop.precision, world.device), world.device)
    places = recipe.samples.max_tokens * recipe.samples.sequences // world.size
    return Speedometer(work, rate, world, recipe.loop.steps, places)


def count_work(model: DiTWithText, samples: Batch, recipe: DitTrainRecipe, world: World) -> Work:
    """What samples cost, from the counted operations of some, each in a sequence of its own; no gradient is left."""
    lengths, counted = [], []
    for tokens, targets in samples:
        with Operations() as counter:
            part_loss(model, tokens.to(world.device), targets.to(world.device), recipe, world).loss.backward()
        lengths.append(float(len(tokens.order)))
        counted.append(float(counter.total))
    model.zero_grad(set_to_none=True)
    return fit_work(lengths, counted)


def fit_work(lengths: Sequence[float], operations: Sequence[float]) -> Work:
    """The costs by token and by pair that come nearest to what was counted."""
    length = torch.tensor(lengths, dtype=torch.float64) / max(lengths)  # (S,), in numbers near 1
    found = torch.linalg.lstsq(
        torch.stack([length, length**2], 1),  # (S, 2)
        torch.tensor(operations, dtype=torch.float64)[:, None],
        driver="gelsd",  # also where all samples are of one length
    ).solution[:, 0]
    return Work(float(found[0]) / max(lengths), float(found[1]) / max(lengths) ** 2)
