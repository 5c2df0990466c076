"""What a DiT is shown at a step: samples with order, noise and text, packed into one sequence a rank."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soracli.data.latent_samples import LatentSampler
from soracli.models.tokenizer import encode_text
from soracli.models.tokens import Sample, Tokens, pack_tokens, patchify
from soracli.pipelines.noising import noised_sample
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.distributed import World, share_of
from soracli.training.seeding import generator_for

_PICTURES_PER_SAMPLE = 4


def draw_batch(
    sampler: LatentSampler, tokenizer: Tokenizer, recipe: DitTrainRecipe, step: int, world: World
) -> list[tuple[Tokens, Tensor]]:
    """This rank's share of the batch of one step in up to ``accumulate`` parts, as even as samples allow.

    Each is packed into one sequence, with its targets ``(Ln, P)``.
    """
    pictures = step < recipe.samples.images_first
    count = recipe.samples.batch_size * (_PICTURES_PER_SAMPLE if pictures else 1)
    drawn = [
        draw_sample(sampler, tokenizer, recipe, generator_for(recipe.loop.seed, "sample", step, number), pictures)
        for number in share_of(range(count), world)
    ]
    parts = min(recipe.accumulate, len(drawn))
    return [pack_batch(drawn[number::parts], sampler, recipe) for number in range(parts)]


def draw_sample(
    sampler: LatentSampler,
    tokenizer: Tokenizer,
    recipe: DitTrainRecipe,
    generator: torch.Generator,
    pictures_only: bool = False,
) -> tuple[Sample, list[Tensor]]:
    """A sample with its order, noise and text, and its targets; ``generator`` decides everything."""
    drawn = sampler.sample(generator, pictures_only=pictures_only)
    dropped = float(torch.rand(1, generator=generator)) < recipe.flow.text_dropout
    ids = encode_text(tokenizer, "" if dropped else drawn.caption, recipe.text.max_tokens)
    return noised_sample(drawn, torch.tensor(ids), recipe.flow, recipe.order, generator)


def pack_batch(
    drawn: list[tuple[Sample, list[Tensor]]], sampler: LatentSampler, recipe: DitTrainRecipe
) -> tuple[Tokens, Tensor]:
    """Samples as one sequence, and the targets ``(Ln, P)`` of its wanted tokens."""
    patch = recipe.dit.patch_size
    tokens = pack_tokens([sample for sample, _ in drawn], patch, sampler.cache.spec.compression[1:])
    targets = [patchify(target, patch).flatten(0, 1) for _, part in drawn for target in part]
    return tokens, torch.cat(targets)
