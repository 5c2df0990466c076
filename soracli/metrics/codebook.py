"""How a codebook is used: shares, perplexity and levels, counted over a stream of tokens in constant memory.

A code has D dimensions of ``levels[d]`` values each; its index counts them with the first dimension fastest. Counts
take 8 bytes a code, 2 MiB for 2^18 of them, and add up: counts of two streams are those of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class CodebookUse:
    """What was counted.

    Attributes:
        num_codes: Codes that there are.
        num_tokens: Tokens that were counted.
        num_used: Codes that occurred.
        used_share: Of all codes, in [0, 1].
        reachable_share: Of the codes that so many tokens could have been at most, in [0, 1].
        num_dead: Codes that never occurred; with few tokens most codes have not had the chance.
        perplexity: The exponential of the entropy of the tokens: as many codes, used evenly, would say as much.
        entropy_bits: That entropy in bits, at most ``log2(num_codes)``.
        level_shares: For each dimension the share of tokens at each of its levels.
        dead_levels: Levels of all dimensions that never occurred.
    """

    num_codes: int
    num_tokens: int
    num_used: int
    used_share: float
    reachable_share: float
    num_dead: int
    perplexity: float
    entropy_bits: float
    level_shares: tuple[tuple[float, ...], ...]
    dead_levels: int


def empty_counts(levels: Sequence[int]) -> Tensor:
    """Counts before the first token: int64 ``(prod(levels),)`` zeros."""
    return torch.zeros(math.prod(levels), dtype=torch.int64)


def count_tokens(counts: Tensor, indices: Tensor) -> None:
    """Add tokens, integers of any shape, to ``counts`` in place.

    Raises:
        ValueError: If an index is not among those counted.
    """
    flat = indices.flatten().to(counts)
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < len(counts):
        raise ValueError(f"tokens {int(flat.min())} to {int(flat.max())} do not fit a codebook of {len(counts)}")
    counts.index_add_(0, flat, torch.ones_like(flat))


def codebook_use(counts: Tensor, levels: Sequence[int]) -> CodebookUse:
    """Sum counts up.

    Args:
        counts: Of ``count_tokens``.
        levels: Of the code's dimensions, as for ``empty_counts``.

    Raises:
        ValueError: If nothing was counted.
    """
    num_tokens = int(counts.sum())
    if not num_tokens:
        raise ValueError("no tokens were counted")
    share = counts[counts > 0].double() / num_tokens
    entropy = float(-(share * share.log()).sum())
    table = counts.view(*reversed(levels))  # the last dimension is the slowest
    by_level = [table.sum([axis for axis in range(len(levels)) if axis != place]) for place in range(len(levels))]
    by_level.reverse()
    return CodebookUse(
        num_codes=len(counts),
        num_tokens=num_tokens,
        num_used=len(share),
        used_share=len(share) / len(counts),
        reachable_share=len(share) / min(len(counts), num_tokens),
        num_dead=len(counts) - len(share),
        perplexity=math.exp(entropy),
        entropy_bits=entropy / math.log(2),
        level_shares=tuple(tuple((level / num_tokens).tolist()) for level in by_level),
        dead_levels=sum(int((level == 0).sum()) for level in by_level),
    )
