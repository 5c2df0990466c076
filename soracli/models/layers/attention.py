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

from soracli.models.layers.block_attention import attend_blocks, compiled_kernel
from soracli.models.layers.rope import rotate
from soracli.models.layers.run_attention import attend_runs
from soracli.models.layers.segment import Segment
from soracli.models.layers.written_attention import attend

_NARROWEST_HEAD = 16


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
    if past is None and _has_block_kernel(query) and len(segments) > 1:
        return attend_blocks(query, key, value, segments, compiled_kernel())
    if past is None and query.device.type == "cpu":
        return attend_runs(query, key, value, segments)
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


def _has_block_kernel(x: Tensor) -> bool:
    """Whether one kernel for all segments is to be had here: a GPU, and heads as wide as its matrix units take."""
    return x.device.type == "cuda" and x.shape[-1] >= _NARROWEST_HEAD and x.dtype != torch.float64


@torch.compiler.disable
def keys_by_segment(key: Tensor, value: Tensor, segments: Sequence[Segment]) -> list[Keys]:
    """Unrotated keys and values ``(L, N, K)``, cut into segments."""
    lengths = [segment.length for segment in segments]
    return [Keys(*pair) for pair in zip(key.split(lengths), value.split(lengths), strict=True)]
