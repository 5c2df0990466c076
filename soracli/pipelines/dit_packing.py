"""Which samples a rank packs into its sequences of ``samples.max_tokens`` at a step of a DiT's training.

What a sample costs is known before its latents are read and its noise is drawn, so every rank makes the plan of all
ranks for many steps at once, from numbers alone, and then reads only what is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from tokenizers import Tokenizer

from soracli.data.latent_samples import LatentSampler
from soracli.data.packing import Plan, deal, make_plan, planned_steps
from soracli.diffusion.order import draw_order
from soracli.models.token_drop import draw_drop_rate, num_kept
from soracli.models.tokenizer import PairedTokenizer, encode_text
from soracli.pipelines.noising import left_out
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.distributed import World, share_of
from soracli.training.seeding import derive_seed, generator_for


def packed_keys(
    sampler: LatentSampler, tokenizer: Tokenizer | PairedTokenizer, recipe: DitTrainRecipe, step: int, world: World
) -> list[list[tuple[str, int, int]]]:
    """What the generators of each rank's samples of a step are made for: the same on all ranks, and when resumed.

    Raises:
        DataError: If no sample fits a sequence.
        UsageError: If the sequences of a step cannot be shared equally; names the numbers of ranks that fit.
    """
    share_of(range(recipe.samples.sequences), world)
    first, position = _place_in_plan(recipe, step)
    plan = _kept_plan(sampler, tokenizer, recipe, first)
    sequences = plan.steps[position]
    costs = [sum(work_of(recipe, plan.lengths[number]) for number in sequence) for sequence in sequences]
    dealt = deal(costs, world.size)
    return [[("packed", first, number) for place in places for number in sequences[place]] for places in dealt]


def plan_sequences(
    sampler: LatentSampler, tokenizer: Tokenizer | PairedTokenizer, recipe: DitTrainRecipe, step: int
) -> Plan:
    """The plan that a step belongs to.

    Raises:
        DataError: If no sample fits a sequence.
    """
    return _kept_plan(sampler, tokenizer, recipe, _place_in_plan(recipe, step)[0])


def tell_left_out(
    sampler: LatentSampler,
    tokenizer: Tokenizer | PairedTokenizer,
    recipe: DitTrainRecipe,
    step: int,
    note: Callable[[str], None],
) -> bool:
    """Say how many of the samples drawn around a step are longer than a sequence; False if there is nothing to say."""
    plan = plan_sequences(sampler, tokenizer, recipe, step)
    if plan.left_out:
        drawn = len(plan.left_out) + len(plan.lengths)
        note(
            f"left out: {len(plan.left_out)} of the {drawn} samples drawn from step {step} on are longer than "
            f"samples.max_tokens = {plan.budget}; the longest has {max(plan.left_out.values())} tokens"
        )
    return bool(plan.left_out)


def count_tokens(
    sampler: LatentSampler,
    tokenizer: Tokenizer | PairedTokenizer,
    recipe: DitTrainRecipe,
    key: tuple[str, int, int],
    pictures_only: bool = False,
) -> int:
    """Tokens of the sample that ``draw_sample`` draws for a key, less those that are dropped.

    It draws what decides the number, in the order ``draw_sample`` does, and stops before the noise.
    """
    generator = generator_for(recipe.loop.seed, *key)
    choice = sampler.choose(generator, pictures_only=pictures_only)
    is_edit = choice.entry.paired
    no_text, no_source = left_out(float(torch.rand(1, generator=generator)), is_edit, recipe.flow)
    text = len(encode_text(tokenizer, "" if no_text else choice.caption, recipe.text.max_tokens))
    order = draw_order(choice.count, choice.begins, recipe.order, generator, tail=choice.tail)
    rate = 0.0
    if recipe.samples.token_drop:
        rate = draw_drop_rate(recipe.samples.token_drop, generator_for(recipe.loop.seed, "token drop", *key))
    _, rows, columns = recipe.dit.patch_size
    frame = (choice.size[0] // rows) * (choice.size[1] // columns)
    clean = len(order.given) + sum(map(len, order.blocks[:-1])) + (choice.count if is_edit and not no_source else 0)
    noisy = sum(num_kept(frame * len(block), rate) for block in order.blocks)
    return text + frame * clean + recipe.flow.copies * noisy


def work_of(recipe: DitTrainRecipe, length: int) -> float:
    """Multiplications of a sample in a block of the DiT, forward: its matrices, and attention of all to all."""
    dim = recipe.dit.hidden_size
    return length * dim * (dim * (4 + 2 * recipe.dit.mlp_ratio) + 2 * length)


def _place_in_plan(recipe: DitTrainRecipe, step: int) -> tuple[int, int]:
    """First step of the plan that a step belongs to, and its place there; pictures alone have plans of their own."""
    begins = recipe.samples.images_first if step >= recipe.samples.images_first else 0
    place = (step - begins) % planned_steps(recipe.samples.sequences)
    return step - place, place


@lru_cache(maxsize=2)
def _kept_plan(
    sampler: LatentSampler, tokenizer: Tokenizer | PairedTokenizer, recipe: DitTrainRecipe, first: int
) -> Plan:
    pictures = first < recipe.samples.images_first
    return make_plan(
        lambda number: count_tokens(sampler, tokenizer, recipe, ("packed", first, number), pictures),
        recipe.samples.max_tokens,
        recipe.samples.sequences,
        lambda length: work_of(recipe, length),
        derive_seed(recipe.loop.seed, "order of steps", first),
    )
