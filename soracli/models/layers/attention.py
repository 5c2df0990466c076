"""Attention inside segments of one packed sequence, with keys and values of earlier tokens if there are any.

Axes: L tokens of all segments, N heads, K width of a head, D = N K. Nothing is padded: each segment attends by itself,
so the result is that of the segment alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.layers.block_attention import attend_blocks, compiled_kernel
from soracli.models.layers.rearrange import rearranged
from soracli.models.layers.rope import rotate

_MOST_SCORES = 1 << 20
"""Scores of one head that are computed together, about: more no longer fits a cache."""
_NARROWEST_HEAD = 16


@dataclass(frozen=True)
class Segment:
    """One sample's stretch of the packed sequence.

    Attributes:
        length: Its tokens.
        mask: ``(length, length)`` bool, which tokens (columns) each token (row) sees; None: all. A past is seen by all.
    """

    length: int
    mask: Tensor | None = None


@dataclass(frozen=True)
class Keys:
    """Keys and values of one layer and one segment, kept for later tokens.

    Attributes:
        key: ``(M, N, K)``; kept unrotated, so that positions can be given anew, and rotated when they are looked at.
        value: ``(M, N, K)``.
    """

    key: Tensor
    value: Tensor


class RMSNorm(nn.Module):
    """Root-mean-square norm of the last axis with a gain (Zhang and Sennrich 2019)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(..., dim)``."""
        return functional.rms_norm(x, (x.shape[-1],), self.gain.to(x.dtype), 1e-6)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention, by whichever way this machine is fast at.

    torch's fused attention runs bfloat16 on a CPU at a third of the speed of its own matrix products (380 tokens in 4
    heads, forward and backward: 7.5 ms against 3.0), so there the scores are written out.

    Args:
        query: ``(..., l, K)``.
        key: ``(..., m, K)``.
        value: ``(..., m, K)``.
        mask: ``(..., l, m)`` bool, which key each query sees; None: all.

    Returns:
        ``(..., l, K)``.
    """
    if not _is_written_out(query):
        return functional.scaled_dot_product_attention(query, key, value, mask)
    scores = query @ (key * key.shape[-1] ** -0.5).transpose(-1, -2)  # (..., l, m)
    if mask is not None:
        scores = scores + torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, -torch.inf)
    return scores.softmax(-1) @ value


class SelfAttention(nn.Module):
    """Multi-head attention with normalised queries and keys (QK-norm, Dehghani et al. 2023, arXiv:2302.05442)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.query_norm = RMSNorm(dim // num_heads)
        self.key_norm = RMSNorm(dim // num_heads)
        self.out = nn.Linear(dim, dim)

    def heads(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(L, 3 D)`` to normalised queries and keys, not rotated, and values ``(L, N, K)``."""
        q, k, v = projected.unflatten(-1, (3, self.num_heads, -1)).unbind(1)  # 3 (L, N, K)
        return self.query_norm(q), self.key_norm(k), v  # 3 (L, N, K)

    def forward(
        self,
        x: Tensor,
        angles: Tensor,
        segments: Sequence[Segment],
        past: Sequence[Keys] | None = None,
    ) -> tuple[Tensor, list[Keys]]:
        """Attend.

        Args:
            x: ``(L, D)`` tokens of all segments, one after another.
            angles: ``(L, P)`` rotary angles.
            segments: Where each sample is; lengths add up to L.
            past: Earlier keys, rotated, and values of each segment.

        Returns:
            ``(L, D)``, and the unrotated keys and the values of ``x`` by segment.
        """
        q, k, v = self.heads(self.qkv(x))  # 3 (L, N, K)
        attended = attend_segments(rotate(q, angles), rotate(k, angles), v, segments, past)  # (L, D)
        return self.out(attended), keys_by_segment(k, v, segments)  # (L, D)


@torch.compiler.disable
def attend_segments(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], past: Sequence[Keys] | None
) -> Tensor:
    """Attention inside each segment and to its past, ``(L, N, K)`` three times to ``(L, N K)``.

    Never compiled: segments differ from one sequence to the next.
    """
    if past is None and _is_written_out(query):
        return attend_in_groups(query, key, value, segments)
    if past is None and _has_block_kernel(query) and len(segments) > 1:
        return attend_blocks(query, key, value, segments, compiled_kernel())
    lengths = [segment.length for segment in segments]
    outputs = []
    for index, (segment, q, k, v) in enumerate(
        zip(segments, query.split(lengths), key.split(lengths), value.split(lengths), strict=True)
    ):
        mask = segment.mask  # (l, l)
        if past is not None:
            k = torch.cat([past[index].key, k])  # (M + l, N, K)
            v = torch.cat([past[index].value, v])  # (M + l, N, K)
            if mask is not None:
                mask = functional.pad(mask, (len(past[index].key), 0), value=True)  # (l, M + l)
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))  # 3 (1, N, l, K)
        outputs.append(attend(q, k, v, mask)[0].transpose(0, 1).flatten(1))  # (l, D)
    return torch.cat(outputs)  # (L, D)


def attend_in_groups(query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment]) -> Tensor:
    """The same as one by one, for segments of similar length together: few large products instead of many small.

    Shorter segments of a group are filled up with zeros that nobody sees; their outputs are left out.
    """
    count, heads = query.shape[:2]
    groups = similar_lengths([segment.length for segment in segments])
    starts = [0, *accumulate(segment.length for segment in segments)]
    slots, masks = [], []
    for group in groups:
        longest = segments[group[0]].length
        slot = torch.full((len(group), longest), count)  # (B, l), the row of zeros unless filled
        mask = torch.zeros(len(group), 1, longest, longest, dtype=torch.bool)
        mask[:, :, :, 0] = True  # rows that are filled up see something, or they would be NaN
        for row, number in enumerate(group):
            length, seen = segments[number].length, segments[number].mask
            slot[row, :length] = torch.arange(starts[number], starts[number] + length)
            mask[row, 0, :length, :length] = True if seen is None else seen
        slots.append(slot)
        masks.append(mask)
    there = torch.cat([slot.flatten() for slot in slots])  # (M,)
    real = there < count
    back = torch.empty(count, dtype=torch.int64)  # (L,)
    back[there[real]] = real.nonzero()[:, 0]

    packed = torch.cat([query, key, value], 1).flatten(1)  # (L, 3 D)
    sizes = [slot.numel() for slot in slots]
    outputs = []
    for slot, mask, rows in zip(slots, masks, rearranged(packed, there, back).split(sizes), strict=True):
        q, k, v = rows.view(*slot.shape, 3, heads, -1).permute(2, 0, 3, 1, 4)  # 3 (B, N, l, K)
        outputs.append(attend(q, k, v, mask).transpose(1, 2).flatten(2).flatten(0, 1))  # (B l, D)
    return rearranged(torch.cat(outputs), back, there)  # (L, D)


def similar_lengths(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of segments in groups, longest first: none is under three quarters of its group's longest."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        longest = lengths[groups[-1][0]] if groups else 0
        if 4 * lengths[number] >= 3 * longest > 0 and len(groups[-1]) * longest**2 < _MOST_SCORES:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _has_block_kernel(x: Tensor) -> bool:
    """Whether one kernel for all segments is to be had here: a GPU, and heads as wide as its matrix units take."""
    return x.device.type == "cuda" and x.shape[-1] >= _NARROWEST_HEAD and x.dtype != torch.float64


def _is_written_out(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.bfloat16


@torch.compiler.disable
def keys_by_segment(key: Tensor, value: Tensor, segments: Sequence[Segment]) -> list[Keys]:
    """Unrotated keys and values ``(L, N, K)``, cut into segments."""
    lengths = [segment.length for segment in segments]
    return [Keys(*pair) for pair in zip(key.split(lengths), value.split(lengths), strict=True)]
