"""Attention over batches of equal length, and blocks of it that remember what came before.

Axes: B batch, L tokens, M tokens remembered or looked at, D width, N heads, K width of a head, D = N K.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soracli.models.layers.attention import RMSNorm
from soracli.models.layers.rope import rotate
from soracli.models.layers.transformer import FeedForward
from soracli.models.layers.written_attention import attend


@dataclass(frozen=True)
class KeyValue:
    """Keys and values of one layer.

    Attributes:
        key: ``(B, N, M, K)``, normalised.
        value: ``(B, N, M, K)``.
    """

    key: Tensor
    value: Tensor

    def then(self, more: KeyValue) -> KeyValue:
        """These, and more tokens behind them."""
        return KeyValue(torch.cat([self.key, more.key], 2), torch.cat([self.value, more.value], 2))


class BatchAttention(nn.Module):
    """Multi-head self-attention with normalised queries and keys, as ``SelfAttention`` for one packed sequence."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.query_norm = RMSNorm(dim // num_heads)
        self.key_norm = RMSNorm(dim // num_heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """All tokens see all.

        Args:
            x: ``(B, L, D)``.
            angles: ``(B L, P)`` rotary angles, P = K / 2.
        """
        q, k, v = self._heads(x)  # 3 (B, L, N, K)
        q = rotate(q.flatten(0, 1), angles).view_as(q)  # (B, L, N, K)
        k = rotate(k.flatten(0, 1), angles).view_as(k)  # (B, L, N, K)
        return self._joined(attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None))  # (B, L, D)

    def causal(self, x: Tensor, past: KeyValue | None) -> tuple[Tensor, KeyValue]:
        """Each token sees those before it and itself.

        Args:
            x: ``(B, L, D)``.
            past: Of the tokens before ``x``.

        Returns:
            ``(B, L, D)``, and the keys and values of all tokens so far.
        """
        q, k, v = (part.transpose(1, 2) for part in self._heads(x))  # 3 (B, N, L, K)
        known = KeyValue(k, v) if past is None else past.then(KeyValue(k, v))
        length, total = x.shape[1], known.key.shape[2]
        mask = torch.ones(length, total, dtype=torch.bool, device=x.device).tril(total - length)  # (L, M)
        return self._joined(attend(q, known.key, known.value, mask)), known  # (B, L, D)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)  # 3 (B, L, N, K)
        return self.query_norm(q), self.key_norm(k), v

    def _joined(self, heads: Tensor) -> Tensor:
        joined: Tensor = self.out(heads.transpose(1, 2).flatten(2))  # (B, L, D)
        return joined


class LookAt(nn.Module):
    """Cross-attention: tokens look at others, whose keys and values are made once."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.query_norm = RMSNorm(dim // num_heads)
        self.key_norm = RMSNorm(dim // num_heads)
        self.out = nn.Linear(dim, dim)

    def read(self, seen: Tensor) -> KeyValue:
        """Keys and values of ``(B, M, D)``."""
        k, v = self.key_value(seen).unflatten(-1, (2, self.num_heads, -1)).unbind(2)  # 2 (B, M, N, K)
        return KeyValue(self.key_norm(k).transpose(1, 2), v.transpose(1, 2))

    def forward(self, x: Tensor, looked: KeyValue) -> Tensor:
        """``(B, L, D)`` to the same."""
        q = self.query_norm(self.query(x).unflatten(-1, (self.num_heads, -1))).transpose(1, 2)  # (B, N, L, K)
        joined: Tensor = self.out(attend(q, looked.key, looked.value, None).transpose(1, 2).flatten(2))  # (B, L, D)
        return joined


class VideoBlock(nn.Module):
    """A plain pre-norm block over the tokens of a video."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(dim)
        self.attention = BatchAttention(dim, num_heads)
        self.mlp_norm = RMSNorm(dim)
        self.mlp = FeedForward(dim, mlp_ratio)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """``(B, L, D)`` to the same; ``angles`` as for ``BatchAttention``."""
        x = x + self.attention(self.attention_norm(x), angles)  # (B, L, D)
        return x + self.mlp(self.mlp_norm(x))  # (B, L, D)


class CaptionBlock(nn.Module):
    """A causal block over text, with a look at the video in between if ``looks``."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, *, looks: bool) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(dim)
        self.attention = BatchAttention(dim, num_heads)
        self.look_norm = RMSNorm(dim) if looks else None
        self.look = LookAt(dim, num_heads) if looks else None
        self.mlp_norm = RMSNorm(dim)
        self.mlp = FeedForward(dim, mlp_ratio)

    def forward(self, x: Tensor, looked: KeyValue | None, past: KeyValue | None) -> tuple[Tensor, KeyValue]:
        """``(B, L, D)`` to the same, and what later tokens need of all so far."""
        attended, known = self.attention.causal(self.attention_norm(x), past)  # (B, L, D)
        x = x + attended  # (B, L, D)
        if self.look is not None and self.look_norm is not None and looked is not None:
            x = x + self.look(self.look_norm(x), looked)  # (B, L, D)
        return x + self.mlp(self.mlp_norm(x)), known  # (B, L, D)
