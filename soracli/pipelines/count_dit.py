"""What a training of a DiT costs, counted from its recipe and samples of a cache, or of a stated size without one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from soracli.data.latent_samples import LatentSample, LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.models.text_frozen import open_frozen
from soracli.models.tokens import TEXT, Sample, pack_tokens
from soracli.pipelines.count_training import TrainingCost
from soracli.pipelines.dit_batch import draw_sample
from soracli.pipelines.dit_memory import count_memory
from soracli.pipelines.dit_start import learn_tokenizer
from soracli.pipelines.noising import noised_sample
from soracli.pipelines.plan_dit import forward_flops
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.ranks import sharing_ranks
from soracli.training.seeding import generator_for

_SAMPLES = 64


def count_dit(
    recipe: DitTrainRecipe,
    draw: Callable[[int], Sample],
    channels: int,
    compression: tuple[int, int, int],
    *,
    half: bool,
    ranks: int = 1,
) -> TrainingCost:
    """Count.

    Args:
        recipe: The training's.
        draw: A sample by its number: of ``cached_samples`` or ``made_up_samples``.
        channels: Of the latents.
        compression: Of their VAE.
        half: Whether matrices are multiplied in bfloat16.
        ranks: Of which some may hold the weights between them.

    Raises:
        UsageError: If ``shard_ranks`` does not divide them.
    """
    frozen = open_frozen(recipe.text, fetch=True, weights=False)
    with torch.device("meta"):
        dit = DiT(recipe.dit, channels, recipe.text.hidden_size)
        text = TextEncoder(recipe.text, frozen)
    tokens = pack_tokens([draw(number) for number in range(_SAMPLES)], recipe.dit.patch_size, compression[1:])
    num_text = int((tokens.kind == TEXT).sum())
    inside = (len(tokens.kind) - (num_text if recipe.dit.text == "cross" else 0)) / _SAMPLES
    samples, most = recipe.samples, recipe.samples.max_tokens
    batch = samples.sequences * most / inside if most else float(samples.batch_size)
    model = nn.ModuleDict({"dit": dit, "text": text})
    memory = count_memory(model, recipe, inside, half=half, num_slices=sharing_ranks(recipe.shard_ranks, ranks))
    passes = 3 + recipe.checkpoint_activations + recipe.flow.self_conditioning + recipe.teacher_passes
    fixed = {"weights": memory.weights, "gradients": memory.gradients, "optimiser": memory.optimiser}
    fixed |= {"average": memory.average, "teacher": memory.teacher, "gathered": memory.gathered}
    products = {
        (round(inside * batch), layer.in_features, layer.out_features)
        for layer in dit.blocks.modules()
        if isinstance(layer, nn.Linear)
    }
    return TrainingCost(
        parameters={"dit": _numbers(dit), "text": _numbers(text)},
        unit="tokens",
        units=inside,
        batch=batch,
        shares=samples.sequences if most else samples.batch_size,
        parts=recipe.accumulate,
        flops=passes * forward_flops(dit, text, tokens, num_text) / _SAMPLES * batch,
        steps=recipe.loop.steps,
        fixed={name: size for name, size in fixed.items() if size},
        activations=float(memory.activations),
        products=tuple(sorted(products)),
        half=half,
        left_out=("what libraries and allocators take", "activations of the text encoder"),
    )


def cached_samples(recipe: DitTrainRecipe, cache: LatentCache) -> Callable[[int], Sample]:
    """Samples as a training draws them of a cache.

    Raises:
        SoraError: If the cache cannot be used.
    """
    frozen = open_frozen(recipe.text, fetch=True, weights=False)
    tokenizer = learn_tokenizer(cache, recipe, frozen)
    sampler = LatentSampler(cache, recipe.samples, recipe.caption)
    return lambda number: draw_sample(sampler, tokenizer, recipe, generator_for(recipe.loop.seed, "plan", number))[0]


def made_up_samples(
    recipe: DitTrainRecipe, channels: int, size: tuple[int, int], num_text: int
) -> Callable[[int], Sample]:
    """Samples of the lengths of a recipe, of latents that are all 0.

    Args:
        recipe: The training's.
        channels: Of the latents.
        size: Their rows and columns.
        num_text: Tokens of a text.
    """

    def draw(number: int) -> Sample:
        generator = generator_for(0, "plan", number)
        is_image = float(torch.rand(1, generator=generator)) < recipe.samples.image_share
        lengths = recipe.samples.latent_frames
        frames = 1 if is_image else lengths[int(torch.randint(len(lengths), (1,), generator=generator))]
        nothing = torch.zeros(channels, frames, *size)
        drawn = LatentSample(nothing, torch.arange(frames) / 3, torch.arange(frames) == 0, begins=True, caption="")
        text = torch.zeros(num_text, dtype=torch.int64)
        return noised_sample(drawn, text, recipe.flow, recipe.order, generator)[0]

    return draw


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
