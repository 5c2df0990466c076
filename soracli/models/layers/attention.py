"""Attention inside segments of one packed sequence, with keys and values of earlier tokens if there are any.

Axes: L tokens of all segments, N heads, K width of a head, D = N K. Nothing is padded: each segment attends by itself,
so the result is that of the segment alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.layers.rope import rotate


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
        mask: ``(l, m)`` bool, which key each query sees; None: all.

    Returns:
        ``(..., l, K)``.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
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
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(1)  # 3 (L, N, K)
        q, k = self.query_norm(q), self.key_norm(k)  # (L, N, K)
        attended = attend_segments(rotate(q, angles), rotate(k, angles), v, segments, past)  # (L, D)
        return self.out(attended), keys_by_segment(k, v, segments)  # (L, D)


@torch.compiler.disable
def attend_segments(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], past: Sequence[Keys] | None
) -> Tensor:
    """Attention inside each segment and to its past, ``(L, N, K)`` three times to ``(L, N K)``.

    Never compiled: segments differ from one sequence to the next.
    """
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


@torch.compiler.disable
def keys_by_segment(key: Tensor, value: Tensor, segments: Sequence[Segment]) -> list[Keys]:
    """Unrotated keys and values ``(L, N, K)``, cut into segments."""
    lengths = [segment.length for segment in segments]
    return [Keys(*pair) for pair in zip(key.split(lengths), value.split(lengths), strict=True)]
