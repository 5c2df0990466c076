"""What a DiT is shown at a step: samples with order, noise and text, packed into one sequence a rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soracli.data.latent_samples import LatentSampler
from soracli.models.token_drop import draw_drop_rate, draw_kept, drop_tokens
from soracli.models.tokenizer import PairedTokenizer, encode_text
from soracli.models.tokens import Sample, Tokens, pack_tokens, patchify
from soracli.pipelines.dit_packing import packed_keys
from soracli.pipelines.noising import left_out, noised_sample
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.distributed import World, share_of
from soracli.training.seeding import generator_for

_PICTURES_PER_SAMPLE = 4


def draw_batch(
    sampler: LatentSampler, tokenizer: Tokenizer | PairedTokenizer, recipe: DitTrainRecipe, step: int, world: World
) -> list[tuple[Tokens, Tensor]]:
    """This rank's share of the batch of one step in up to ``accumulate`` parts, as even as samples allow.

    Each is packed into one sequence, with its targets ``(Ln, P)``.
    """
    pictures = step < recipe.samples.images_first
    parts = batch_keys(sampler, tokenizer, recipe, step, world)
    return [_draw_part(sampler, tokenizer, recipe, keys, pictures) for keys in parts]


def batch_keys(
    sampler: LatentSampler, tokenizer: Tokenizer | PairedTokenizer, recipe: DitTrainRecipe, step: int, world: World
) -> list[list[tuple[str, int, int]]]:
    """What the generators of this rank's samples of a step are made for, in the parts of ``draw_batch``.

    There are as many parts on every rank: ranks that hold a model between them compute each together.
    """
    if recipe.samples.max_tokens:
        of_ranks = packed_keys(sampler, tokenizer, recipe, step, world)
        keys, fewest = of_ranks[world.rank], min(map(len, of_ranks))
    else:
        pictures = step < recipe.samples.images_first
        count = recipe.samples.batch_size * (_PICTURES_PER_SAMPLE if pictures else 1)
        keys = [("sample", step, number) for number in share_of(range(count), world)]
        fewest = len(keys)
    parts = min(recipe.accumulate, fewest)
    return [keys[number::parts] for number in range(parts)]


def _draw_part(
    sampler: LatentSampler,
    tokenizer: Tokenizer | PairedTokenizer,
    recipe: DitTrainRecipe,
    keys: Sequence[tuple[str, int, int]],
    pictures: bool,
) -> tuple[Tokens, Tensor]:
    """The samples of some keys, less the tokens that are dropped."""
    seed, rate = recipe.loop.seed, recipe.samples.token_drop
    drawn = [draw_sample(sampler, tokenizer, recipe, generator_for(seed, *key), pictures) for key in keys]
    tokens, targets = pack_batch(drawn, sampler, recipe)
    if not rate:
        return tokens, targets
    kept = []
    for key, (sample, _) in zip(keys, drawn, strict=True):
        generator = generator_for(seed, "token drop", *key)
        kept.append(draw_kept(sample, recipe.dit.patch_size, draw_drop_rate(rate, generator), generator))
    return drop_tokens(tokens, kept), targets[torch.cat(kept)[tokens.wanted]]


def draw_sample(
    sampler: LatentSampler,
    tokenizer: Tokenizer | PairedTokenizer,
    recipe: DitTrainRecipe,
    generator: torch.Generator,
    pictures_only: bool = False,
) -> tuple[Sample, list[Tensor]]:
    """A sample with its order, noise and text, and its targets; ``generator`` decides everything."""
    drawn = sampler.sample(generator, pictures_only=pictures_only)
    no_text, no_source = left_out(float(torch.rand(1, generator=generator)), drawn.source is not None, recipe.flow)
    ids = encode_text(tokenizer, "" if no_text else drawn.caption, recipe.text.max_tokens)
    if no_source:
        drawn = replace(drawn, source=None)
    return noised_sample(drawn, torch.tensor(ids), recipe.flow, recipe.order, generator)


def pack_batch(
    drawn: list[tuple[Sample, list[Tensor]]], sampler: LatentSampler, recipe: DitTrainRecipe
) -> tuple[Tokens, Tensor]:
    """Samples as one sequence, and the targets ``(Ln, P)`` of its wanted tokens."""
    patch = recipe.dit.patch_size
    tokens = pack_tokens([sample for sample, _ in drawn], patch, sampler.cache.spec.compression[1:])
    targets = [patchify(target, patch).flatten(0, 1) for _, part in drawn for target in part]
    return tokens, torch.cat(targets)


def loss_weights(tokens: Tokens, equal: Literal["token", "sample"]) -> Tensor:
    """``(Ln,)`` weights of the wanted tokens in a loss: 1 each, or such that those of each sample add up to 1.

    A step's loss is the weighted mean over all its tokens on all ranks.
    """
    if equal == "token":
        return torch.ones(len(tokens.wanted), device=tokens.wanted.device)
    ends = torch.tensor([segment.length for segment in tokens.segments], device=tokens.wanted.device).cumsum(0)
    owner = torch.bucketize(tokens.wanted, ends, right=True)  # (Ln,)
    return 1.0 / owner.bincount(minlength=len(ends))[owner]
