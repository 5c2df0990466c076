"""Attention of a whole packed sequence in one kernel that skips blocks nobody sees: torch's flex_attention.

Axes: L tokens of all segments in blocks of 128, N heads, K width of a head. Scores of different segments are never
computed, except within the blocks in which one ends and the next begins.
Source: FlexAttention (Dong et al. 2024, arXiv:2412.05496).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import pad

from soracli.models.layers.kept import kept_for_last
from soracli.models.layers.segment import Segment

BLOCK = 128
"""Tokens on a side of a block of scores."""

Kernel = Callable[..., Any]


def attend_blocks(query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], kernel: Kernel) -> Tensor:
    """Attention inside each segment, ``(L, N, K)`` three times to ``(L, N K)``.

    Args:
        query: ``(L, N, K)``.
        key: The same.
        value: The same.
        segments: Where each sample is; lengths add up to L. The same object finds the same mask at no cost.
        kernel: ``compiled_kernel()``, or ``flex_attention`` itself, which writes out all scores and serves for tests.
    """
    mask = block_mask(segments, query.device)
    q, k, v = (part.transpose(0, 1)[None] for part in (query, key, value))  # 3 (1, N, L, K)
    attended: Tensor = kernel(q, k, v, block_mask=mask)  # (1, N, L, K)
    return attended[0].transpose(0, 1).flatten(1)  # (L, N K)


@lru_cache(maxsize=1)
def compiled_kernel() -> Kernel:
    """flex_attention for sequences of any length, compiled at its first use."""
    kernel: Kernel = torch.compile(flex_attention, dynamic=True)
    return kernel


@kept_for_last
def block_mask(segments: Sequence[Segment], device: torch.device) -> BlockMask:
    """Which blocks are looked at, which of them whole, and who sees whom inside the others.

    Built segment by segment, in the memory of their masks: the square of the whole sequence is never written out.
    """
    total = sum(segment.length for segment in segments)
    count = -(-total // BLOCK)
    some = torch.zeros(count, count, dtype=torch.bool, device=device)
    whole = torch.zeros_like(some)
    owner, first, row_start, masks = [], [], [], [torch.ones(1, dtype=torch.bool, device=device)]
    start, stored = 0, 1
    for number, segment in enumerate(segments):
        length = segment.length
        seen = torch.ones(length, length, dtype=torch.bool, device=device) if segment.mask is None else segment.mask
        before, low, high = start % BLOCK, start // BLOCK, -(-(start + length) // BLOCK)
        behind = (high - low) * BLOCK - before - length
        tiles = pad(seen, (before, behind, before, behind)).unflatten(0, (-1, BLOCK)).unflatten(2, (-1, BLOCK))
        some[low:high, low:high] |= tiles.any(3).any(1)
        whole[low:high, low:high] |= tiles.all(3).all(1)
        place = torch.arange(length, device=device)
        owner.append(torch.full((length,), number, device=device))
        first.append(torch.full((length,), start, device=device))
        # Row by row in one long list; rows of a segment without a mask all begin at its only True, a step of 0 apart.
        row_start.append(torch.zeros_like(place) if segment.mask is None else stored + length * place)
        if segment.mask is not None:
            masks.append(seen.flatten())
            stored += length * length
        start += length
    owners, firsts, rows, flat = (torch.cat(parts) for parts in (owner, first, row_start, masks))

    def sees(batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        same = owners[row] == owners[column]
        inside = torch.where(same & (rows[row] > 0), rows[row] + column - firsts[row], 0)
        return same & flat[inside]

    partly = some & ~whole
    return BlockMask.from_kv_blocks(
        *_listed(partly), *_listed(whole), BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(total, total)
    )


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks each row of blocks has, ``(1, 1, R)``, and which, those first, ``(1, 1, R, R)``."""
    found = blocks.int()
    return found.sum(1).int()[None, None], found.argsort(dim=1, descending=True, stable=True).int()[None, None]
