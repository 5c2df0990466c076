"""Leaving noisy tokens out of a packed sequence: cheaper and coarser, what stays is as if the others never were.

Source: NaViT (Dehghani et al. 2023, arXiv:2307.06304, section 3.2 and appendix B.1): the share that is dropped is
drawn for each sample, ``d = u d_max`` with u from a beta distribution of variance ``0.3 mean (1 - mean)``. Differs from
the source: text and clean context, with what an edit begins from, always stay, because samplers always see them whole;
at least one token of a noisy piece stays; and the dropped tokens of a diffusion model take their loss with them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from soracli.models.layers.segment import Segment
from soracli.models.tokens import Sample, Tokens

_MOST_DROPPED = 0.9
_SPREAD = 0.3


def draw_drop_rate(mean: float, generator: torch.Generator) -> float:
    """The share of noisy tokens that one sample leaves out.

    Args:
        mean: On average over samples, from 0 to less than 0.9; 0 draws nothing and is 0.
        generator: Decides.
    """
    if mean == 0:
        return 0.0
    share, total = mean / _MOST_DROPPED, 1 / _SPREAD - 1
    rng = random.Random(int(torch.randint(2**62, (1,), generator=generator)))
    return _MOST_DROPPED * rng.betavariate(share * total, (1 - share) * total)


def num_kept(count: int, rate: float) -> int:
    """Tokens of a noisy piece of ``count`` that stay; at least one, if there is one."""
    return max(min(1, count), count - int(rate * count))


def draw_kept(sample: Sample, patch_size: tuple[int, int, int], rate: float, generator: torch.Generator) -> Tensor:
    """``(l,)`` bool: which tokens of a sample stay, in the order of ``pack_tokens``."""
    parts = [torch.ones(len(sample.text), dtype=torch.bool)]
    for piece in sample.pieces:
        count = piece.latents[0].numel() // (patch_size[1] * patch_size[2])
        kept = torch.ones(count, dtype=torch.bool)
        if not piece.clean:
            kept[torch.randperm(count, generator=generator)[num_kept(count, rate) :]] = False
        parts.append(kept)
    return torch.cat(parts)


def drop_tokens(tokens: Tokens, kept: Sequence[Tensor]) -> Tokens:
    """The sequence without the tokens that do not stay.

    Args:
        tokens: Of ``pack_tokens``.
        kept: ``(l,)`` bool of each sample; every text token stays.

    Returns:
        The shorter sequence. Of targets for ``tokens.wanted``, those of ``torch.cat(kept)[tokens.wanted]`` are left.
    """
    stays = torch.cat(list(kept))  # (L,)
    num_text = len(tokens.text)
    is_patch = tokens.order >= num_text
    patches = tokens.patches[tokens.order[is_patch & stays] - num_text]
    left = is_patch[stays]
    order = torch.where(left, num_text + left.cumsum(0) - 1, tokens.order[stays])
    wanted = torch.zeros_like(stays)
    wanted[tokens.wanted] = True
    segments = tuple(
        Segment(int(part.sum()), None if segment.mask is None else segment.mask[part][:, part])
        for segment, part in zip(tokens.segments, kept, strict=True)
    )
    return replace(
        tokens,
        patches=patches,
        order=order,
        kind=tokens.kind[stays],
        coordinates=tokens.coordinates[stays],
        grid=tokens.grid[stays],
        of_source=tokens.of_source[stays],
        row=tokens.row[stays],
        segments=segments,
        wanted=wanted[stays].nonzero()[:, 0],
    )
