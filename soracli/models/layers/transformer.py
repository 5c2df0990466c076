"""The blocks of the DiT and the block of the text encoder.

Axes: L tokens, D width, R rows of conditions (one a latent frame), 6 D its shifts, scales and gates, 3 D what it adds
to queries, keys and values.
Source: DiT (Peebles and Xie 2022, arXiv:2212.09748), AdaLN-Zero; the low-rank form is W.A.L.T's AdaLN-LoRA (Gupta et
al. 2023, arXiv:2312.06662, section 3.5); the other block is DiffiT's (Hatamizadeh et al. 2023, arXiv:2312.02139).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.layers.attention import Keys, RMSNorm, SelfAttention
from soracli.models.layers.dit_attention import CrossAttention, DiTAttention
from soracli.models.layers.segment import Segment
from soracli.models.layers.windows import Windows


class FeedForward(nn.Module):
    """Linear, GELU, linear.

    Differs from the source, unless asked: DiT approximates GELU by tanh, which is slower on CPUs (forward 3.5 times)
    and no closer.
    """

    def __init__(self, dim: int, ratio: float, gelu: Literal["exact", "tanh"] = "exact") -> None:
        super().__init__()
        self.approximate = "tanh" if gelu == "tanh" else "none"
        self.up = nn.Linear(dim, int(dim * ratio))
        self.down = nn.Linear(int(dim * ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(L, D)`` to the same."""
        hidden: Tensor = self.down(functional.gelu(self.up(x), approximate=self.approximate))
        return hidden


class Modulation(nn.Module):
    """Conditions to shifts, scales and gates, zero at the start (AdaLN-Zero), full or of low rank.

    ``parts`` is 6 for those, 3 for what DiffiT adds to queries, keys and values.
    """

    def __init__(self, dim: int, rank: int, parts: int = 6) -> None:
        super().__init__()
        self.reduce = nn.Linear(dim, rank, bias=False) if rank else nn.Identity()
        self.expand = nn.Linear(rank or dim, parts * dim)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, condition: Tensor) -> Tensor:
        """``(R, D)`` to ``(R, parts D)``."""
        expanded: Tensor = self.expand(self.reduce(condition))
        return expanded


class DiTBlock(nn.Module):
    """Attention and feed-forward, each normalised, modulated and gated by the condition of the token's frame.

    ``has_cross`` puts a cross-attention to the text between them.
    """

    PARTS = 6

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        rank: int,
        *,
        has_cross: bool = False,
        qk_norm: bool = True,
        gelu: Literal["exact", "tanh"] = "exact",
    ) -> None:
        super().__init__()
        self.dim = dim
        self.attention = DiTAttention(dim, num_heads, qk_norm)
        self.mlp = FeedForward(dim, mlp_ratio, gelu)
        self.modulation = Modulation(dim, rank, self.PARTS)
        self.cross = CrossAttention(dim, num_heads, qk_norm) if has_cross else None

    def start(self) -> None:
        """The identity, once every layer has its usual start."""
        zero_linear(self.modulation.expand)
        if self.cross is not None:
            zero_linear(self.cross.out)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        shared: Tensor | float,
        row: Tensor,
        angles: Tensor,
        segments: Sequence[Segment],
        past: Sequence[Keys] | None,
        windows: Sequence[Windows] | None = None,
        text: Sequence[Keys] = (),
    ) -> tuple[Tensor, list[Keys]]:
        """One block.

        Args:
            x: ``(L, D)``.
            condition: ``(R, D)``, after its SiLU.
            shared: ``(R, 6 D)`` that all blocks share, or 0.
            row: ``(L,)`` which condition each token has.
            angles: ``(L, P)``.
            segments: Of the packed sequence.
            past: Rotated keys, and values, of earlier tokens in this layer, by segment.
            windows: Where attention stays; None: in segments.
            text: Of ``cross.read``, by segment, if there is a cross-attention.

        Returns:
            ``(L, D)`` and this layer's keys and values.
        """
        table = self.modulation(condition) + shared  # (R, 6 D)
        # index_select copies whole rows: four times as fast on a CPU as table[row].
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = table.index_select(0, row).chunk(6, -1)  # 6 (L, D)
        h = functional.layer_norm(x, (self.dim,), eps=1e-6) * (1 + scale_a) + shift_a  # (L, D)
        attended, keys = self.attention(h, angles, segments, past, windows)  # (L, D)
        x = x + gate_a * attended  # (L, D)
        if self.cross is not None:
            x = x + self.cross(x, segments, text)  # (L, D)
        h = functional.layer_norm(x, (self.dim,), eps=1e-6) * (1 + scale_m) + shift_m  # (L, D)
        return x + gate_m * self.mlp(h), keys  # (L, D)


class DiffiTBlock(nn.Module):
    """Time-dependent self-attention and feed-forward: time is added to queries, keys and values, and nowhere else.

    Source: DiffiT, equations 3 to 8. Differs from the source: rotary positions instead of a relative bias, queries
    and keys normalised unless ``qk_norm`` is off, and with a ``rank`` the projection of time is of low rank beside one
    that all blocks share, as AdaLN's may be.
    """

    PARTS = 3

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        rank: int,
        *,
        has_cross: bool = False,
        qk_norm: bool = True,
        gelu: Literal["exact", "tanh"] = "exact",
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = DiTAttention(dim, num_heads, qk_norm)
        self.mlp_norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, mlp_ratio, gelu)
        self.modulation = Modulation(dim, rank, self.PARTS)
        self.cross = CrossAttention(dim, num_heads, qk_norm) if has_cross else None

    def start(self) -> None:
        """Of this block only the cross-attention starts at 0, once every layer has its usual start."""
        if self.cross is not None:
            zero_linear(self.cross.out)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        shared: Tensor | float,
        row: Tensor,
        angles: Tensor,
        segments: Sequence[Segment],
        past: Sequence[Keys] | None,
        windows: Sequence[Windows] | None = None,
        text: Sequence[Keys] = (),
    ) -> tuple[Tensor, list[Keys]]:
        """As ``DiTBlock``; ``shared`` is ``(R, 3 D)``."""
        added = (self.modulation(condition) + shared).index_select(0, row)  # (L, 3 D)
        attended, keys = self.attention(self.attention_norm(x), angles, segments, past, windows, added)  # (L, D)
        x = x + attended  # (L, D)
        if self.cross is not None:
            x = x + self.cross(x, segments, text)  # (L, D)
        return x + self.mlp(self.mlp_norm(x)), keys  # (L, D)


BLOCKS: dict[str, type[DiTBlock] | type[DiffiTBlock]] = {"adaln": DiTBlock, "diffit": DiffiTBlock}
"""By what ``dit.block`` calls them; one interface."""


class TextBlock(nn.Module):
    """A plain pre-norm transformer block."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(dim)
        self.attention = SelfAttention(dim, num_heads)
        self.mlp_norm = RMSNorm(dim)
        self.mlp = FeedForward(dim, mlp_ratio)

    def forward(self, x: Tensor, angles: Tensor, segments: Sequence[Segment]) -> Tensor:
        """``(L, D)`` to the same."""
        x = x + self.attention(self.attention_norm(x), angles, segments)[0]  # (L, D)
        return x + self.mlp(self.mlp_norm(x))  # (L, D)


def start_small(module: nn.Module) -> None:
    """Xavier weights and zero biases on every linear layer, as DiT starts."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)


def zero_linear(layer: nn.Linear) -> None:
    """Set a layer to zero, so that what it feeds starts as if it were not there."""
    with torch.no_grad():
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()
