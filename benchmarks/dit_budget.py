"""What a training of a DiT needs, on paper: memory counted, time estimated from an assumed utilisation.

    python benchmarks/dit_budget.py large/dit_24gb --size 16x28 --peak 165 --utilisation 0.4 --memory 24
    python benchmarks/dit_budget.py large/dit_8xh100 --size 16x28 --ranks 8 --peak 989 --utilisation 0.4 --memory 80

Samples are drawn as the recipe says, of latents of one size that are all 0: their lengths, orders and copies are what
count. Memory is ``sora dit train --dry-run``'s, for one rank's share of the batch; operations are those that are
executed. Nothing of it was run on the machine it is about; utilisation is an assumption, stated in the table.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from soracli.data.latent_samples import LatentSample
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokens import TEXT, Sample, pack_tokens
from soracli.pipelines.dit_memory import TrainingMemory, count_memory
from soracli.pipelines.noising import noised_sample
from soracli.pipelines.plan_dit import forward_flops
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.recipe.find import find_recipe
from soracli.recipe.load import load_recipe
from soracli.training.ranks import sharing_ranks
from soracli.training.seeding import generator_for

_SAMPLES = 64


@dataclass(frozen=True)
class Budget:
    """What is counted and what follows from it.

    Attributes:
        parameters: Numbers that are trained, text encoder included.
        video_tokens: Of a sample, on average.
        text_tokens: Of a sample.
        rank_tokens: Of a rank's sequence, text that is part of it included.
        memory: Of a rank.
        flops: Executed in a step by all ranks.
        seconds: Of a step, at the assumed utilisation.
        days: Of all steps.
    """

    parameters: int
    video_tokens: float
    text_tokens: int
    rank_tokens: float
    memory: TrainingMemory
    flops: float
    seconds: float
    days: float


def count(
    recipe: DitTrainRecipe,
    size: tuple[int, int],
    *,
    channels: int = 16,
    text_tokens: int = 64,
    ranks: int = 1,
    peak: float,
    utilisation: float,
) -> Budget:
    """Count a recipe's training on latents of ``size`` rows and columns; ``peak`` operations a second of a rank."""
    drawn = [_sample(recipe, size, channels, text_tokens, number) for number in range(_SAMPLES)]
    tokens = pack_tokens(drawn, recipe.dit.patch_size, (16, 16))
    num_text = int((tokens.kind == TEXT).sum())
    with torch.device("meta"):
        dit, text = DiT(recipe.dit, channels, recipe.text.hidden_size), TextEncoder(recipe.text)
    model = nn.ModuleDict({"dit": dit, "text": text})
    inside = len(tokens.kind) - (num_text if recipe.dit.text == "cross" else 0)
    a_rank = recipe.samples.batch_size / ranks
    passes = 4 if recipe.checkpoint_activations else 3
    flops = passes * forward_flops(dit, text, tokens, num_text) * recipe.samples.batch_size / _SAMPLES
    seconds = flops / (ranks * peak * utilisation)
    return Budget(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        video_tokens=(len(tokens.kind) - num_text) / _SAMPLES,
        text_tokens=text_tokens,
        rank_tokens=inside / _SAMPLES * a_rank,
        memory=count_memory(
            model,
            recipe,
            inside / _SAMPLES * a_rank,
            half=recipe.loop.precision != "float32",
            num_slices=sharing_ranks(recipe.shard_ranks, ranks),
        ),
        flops=flops,
        seconds=seconds,
        days=seconds * recipe.loop.steps / 86400,
    )


def _sample(recipe: DitTrainRecipe, size: tuple[int, int], channels: int, text_tokens: int, number: int) -> Sample:
    generator = generator_for(0, "budget", number)
    is_image = float(torch.rand(1, generator=generator)) < recipe.samples.image_share
    lengths = recipe.samples.latent_frames
    frames = 1 if is_image else lengths[int(torch.randint(len(lengths), (1,), generator=generator))]
    nothing = torch.zeros(channels, frames, *size)
    drawn = LatentSample(nothing, torch.arange(frames) / 3, torch.arange(frames) == 0, begins=True, caption="")
    text = torch.zeros(text_tokens, dtype=torch.int64)
    return noised_sample(drawn, text, recipe.flow, recipe.order, generator)[0]


def table(name: str, budget: Budget, given: argparse.Namespace) -> str:
    """The figures as lines."""
    memory = ", ".join(f"{part} {size / 1e9:.1f}" for part, size in asdict(budget.memory).items())
    batch = budget.rank_tokens * given.ranks
    return "\n".join(
        [
            f"recipe       {name}, latents {given.size}, {given.ranks} rank{'s' if given.ranks > 1 else ''}",
            f"parameters   {budget.parameters / 1e6:.0f} M",
            f"tokens       {budget.video_tokens:.0f} of video and {budget.text_tokens} of text in a sample, "
            f"{budget.rank_tokens:.0f} on a rank, {batch:.0f} in a step",
            f"memory       {budget.memory.total / 1e9:.1f} of {given.memory:g} GB a rank ({memory})",
            f"work         {budget.flops / 1e15:.2f} PFLOP a step, executed",
            f"assumed      {given.utilisation:.0%} of {given.peak:g} TFLOP/s a rank; not run",
            f"time         {budget.seconds:.2f} s a step, {batch / budget.seconds:.0f} tokens/s, "
            f"{budget.days:.1f} days",
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="name or file")
    parser.add_argument("--size", default="16x28", help="rows x columns of latents (default: %(default)s)")
    parser.add_argument("--text-tokens", type=int, default=64)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--peak", type=float, required=True, help="TFLOP/s of a rank's dense bfloat16 products")
    parser.add_argument("--utilisation", type=float, default=0.4, help="executed over peak (default: %(default)s)")
    parser.add_argument("--memory", type=float, required=True, help="GB that a rank has")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args(arguments)
    recipe = load_recipe(DitTrainRecipe, find_recipe(given.recipe), given.set).recipe
    rows, _, columns = given.size.partition("x")
    budget = count(
        recipe,
        (int(rows), int(columns)),
        text_tokens=given.text_tokens,
        ranks=given.ranks,
        peak=given.peak * 1e12,
        utilisation=given.utilisation,
    )
    print(table(given.recipe, budget, given))
    if given.json:
        given.json.write_text(json.dumps({"recipe": given.recipe, **vars(given) | {"json": None}, **asdict(budget)}))


if __name__ == "__main__":
    main()
