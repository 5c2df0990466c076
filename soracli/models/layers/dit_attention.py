"""The DiT's attentions: to tokens of the sequence, whole or in windows, and to text beside it.

Axes: L tokens of all segments, Lt of all texts, D width, N heads, K width of a head, P pairs of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.layers.attention import (
    Keys,
    RMSNorm,
    SelfAttention,
    attend_segments,
    keys_by_segment,
)
from soracli.models.layers.rope import rotate
from soracli.models.layers.segment import Segment
from soracli.models.layers.windows import Windows, attend_windows
from soracli.models.layers.written_attention import attend


class DiTAttention(SelfAttention):
    """``SelfAttention`` that can do without its norms, stay in windows, and hear of time."""

    def __init__(self, dim: int, num_heads: int, qk_norm: bool = True) -> None:
        super().__init__(dim, num_heads)
        if not qk_norm:
            self.query_norm = self.key_norm = nn.Identity()  # type: ignore[assignment]

    def forward(
        self,
        x: Tensor,
        angles: Tensor,
        segments: Sequence[Segment],
        past: Sequence[Keys] | None = None,
        windows: Sequence[Windows] | None = None,
        added: Tensor | None = None,
    ) -> tuple[Tensor, list[Keys]]:
        """Attend.

        Args:
            x: ``(L, D)``.
            angles: ``(L, P)``.
            segments: Of the packed sequence.
            past: Earlier keys, rotated, and values of each segment.
            windows: Attend inside these; None: inside segments.
            added: ``(L, 3 D)`` to queries, keys and values.

        Returns:
            ``(L, D)``, and the unrotated keys and the values of ``x`` by segment.
        """
        q, k, v = self.heads(self.qkv(x) if added is None else self.qkv(x) + added)  # 3 (L, N, K)
        turned = rotate(q, angles), rotate(k, angles)  # 2 (L, N, K)
        if windows is None:
            attended = attend_segments(*turned, v, segments, past)  # (L, D)
        else:
            attended = attend_windows(*turned, v, windows, past)  # (L, D)
        return self.out(attended), keys_by_segment(k, v, segments)  # (L, D)


class CrossAttention(nn.Module):
    """Tokens look at the text of their segment, whose keys and values are made once.

    Source: PixArt-alpha (Chen et al. 2023, arXiv:2310.00426): between self-attention and feed-forward, and 0 at the
    start. Differs from the source: queries come from normalised tokens, and queries and keys are normalised.
    """

    def __init__(self, dim: int, num_heads: int, qk_norm: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.query_norm = RMSNorm(dim // num_heads) if qk_norm else nn.Identity()
        self.key_norm = RMSNorm(dim // num_heads) if qk_norm else nn.Identity()
        self.out = nn.Linear(dim, dim)

    def read(self, text: Tensor, lengths: Sequence[int]) -> tuple[Keys, ...]:
        """Keys and values of texts.

        Args:
            text: ``(Lt, D)``, one after another.
            lengths: Of each.
        """
        k, v = self.key_value(text).unflatten(-1, (2, self.num_heads, -1)).unbind(1)  # 2 (Lt, N, K)
        pairs = zip(self.key_norm(k).split(list(lengths)), v.split(list(lengths)), strict=True)
        return tuple(Keys(*pair) for pair in pairs)

    def forward(self, x: Tensor, segments: Sequence[Segment], text: Sequence[Keys]) -> Tensor:
        """``(L, D)`` to the same; tokens of a segment without text get the bias of the last layer only."""
        normed = functional.layer_norm(x, x.shape[-1:], eps=1e-6)  # (L, D)
        q = self.query_norm(self.query(normed).unflatten(-1, (self.num_heads, -1)))  # (L, N, K)
        attended: Tensor = self.out(_attend_texts(q, segments, text))  # (L, D)
        return attended


@torch.compiler.disable
def _attend_texts(query: Tensor, segments: Sequence[Segment], text: Sequence[Keys]) -> Tensor:
    """``(L, N, K)`` to ``(L, N K)``; never compiled, as ``attend_segments``."""
    outputs = []
    for q, keys in zip(query.split([segment.length for segment in segments]), text, strict=True):
        if not len(keys.key):
            outputs.append(torch.zeros_like(q).flatten(1))
            continue
        q, k, v = (part.transpose(0, 1)[None] for part in (q, keys.key, keys.value))  # 3 (1, N, l or n, K)
        outputs.append(attend(q, k, v, None)[0].transpose(0, 1).flatten(1))  # (l, D)
    return torch.cat(outputs)  # (L, D)
