"""The order in which latent frames are made: what is given first, then block after block.

One mechanism serves every verb: text to video gives nothing, animation the first frame, extension the start or the
end, connection both ends. Training draws all of them at random; attention follows the order, not time. Torch is only
used to draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch

from soracli.diffusion.config import OrderConfig


@dataclass(frozen=True)
class Order:
    """Latent frames by number.

    Attributes:
        given: Those that are there from the start.
        blocks: The others, in the order they are made; frames of a block are made together.
    """

    given: tuple[int, ...]
    blocks: tuple[tuple[int, ...], ...]


def forward_order(num_latents: int, first_block: int, block: int, given: int = 0) -> Order:
    """From the beginning to the end.

    Args:
        num_latents: Latent frames in all.
        first_block: Size of the first block if nothing is given.
        block: Size of every other block; the last may be smaller.
        given: How many at the start are there already.
    """
    cuts = [given] if given else [0, min(first_block, num_latents)]
    while cuts[-1] < num_latents:
        cuts.append(min(cuts[-1] + block, num_latents))
    return Order(tuple(range(given)), tuple(tuple(range(low, high)) for low, high in pairwise(cuts)))


def draw_order(
    num_latents: int, begins: bool, config: OrderConfig, generator: torch.Generator, *, tail: int = 0
) -> Order:
    """Draw an order to train on.

    Args:
        num_latents: Latent frames of the sample.
        begins: Whether its first latent is the first of its video; a stretch from the middle always has some given,
            for it never has to be made without a past.
        config: How often which.
        generator: Decides.
        tail: Frames at the end that are a video of their own: they are given, and the others are made to run into
            them, from a beginning that is given too or from nothing, the two drawn as often as ``between`` and
            ``backward`` (equally if neither is drawn otherwise).
    """
    if tail:
        return _towards(num_latents - tail, tail, config, generator)
    if num_latents == 1:
        return Order((), ((0,),))
    names = ("forward", "animate", "backward", "between", "scattered")
    weights = torch.tensor([float(getattr(config, name)) for name in names])
    name = names[int(torch.multinomial(weights, 1, generator=generator))]
    frames = list(range(num_latents))
    some = 1 + _integer(generator, max(1, num_latents - 1))
    if name == "backward":
        flipped = forward_order(num_latents, config.first_block, config.block, min(some, config.block))
        return Order(
            tuple(num_latents - 1 - frame for frame in reversed(flipped.given)),
            tuple(tuple(num_latents - 1 - frame for frame in reversed(part)) for part in flipped.blocks),
        )
    if name == "between" and num_latents > 2:
        left = 1 + _integer(generator, min(config.block, num_latents - 2))
        right = 1 + _integer(generator, min(config.block, num_latents - left - 1))
        middle = frames[left : num_latents - right]
        return Order(tuple(frames[:left] + frames[num_latents - right :]), _blocks(middle, config.block))
    if name == "scattered":
        chosen = sorted(torch.randperm(num_latents, generator=generator)[: min(some, num_latents - 1)].tolist())
        return Order(tuple(chosen), _blocks([frame for frame in frames if frame not in chosen], config.block))
    if name == "animate" and begins:
        return forward_order(num_latents, config.first_block, config.block, 1)
    given = 0 if begins else min(some, config.block)
    return forward_order(num_latents, config.first_block, config.block, given)


def _towards(num_made: int, tail: int, config: OrderConfig, generator: torch.Generator) -> Order:
    ends = tuple(range(num_made, num_made + tail))
    between = 0.5 if config.between + config.backward == 0 else config.between / (config.between + config.backward)
    if num_made > 1 and float(torch.rand(1, generator=generator)) < between:
        left = 1 + _integer(generator, min(config.block, num_made - 1))
        return Order((*range(left), *ends), _blocks(list(range(left, num_made)), config.block))
    stops = range(num_made, 0, -config.block)
    return Order(ends, tuple(tuple(range(max(0, stop - config.block), stop)) for stop in stops))


def _blocks(frames: list[int], size: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(frames[start : start + size]) for start in range(0, len(frames), size))


def _integer(generator: torch.Generator, count: int) -> int:
    return int(torch.randint(count, (1,), generator=generator))
