"""Numbers as vectors: sinusoids and a small network (Vaswani et al. 2017; Peebles and Xie 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_WIDTH = 256


class NumberEmbedding(nn.Module):
    """A number in about [0, 1] as a vector: sinusoids of 1000 times the number, linear, SiLU, linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed_in = nn.Linear(_WIDTH, dim)
        self.embed_out = nn.Linear(dim, dim)

    def forward(self, numbers: Tensor) -> Tensor:
        """``(R,)`` to ``(R, dim)``; the sinusoids are float32."""
        frequencies = torch.exp(
            -math.log(10_000) * torch.arange(_WIDTH // 2, device=numbers.device, dtype=torch.float32) / (_WIDTH // 2)
        )
        angles = 1000 * numbers.float()[:, None] * frequencies  # (R, 128)
        waves = torch.cat([angles.cos(), angles.sin()], -1)  # (R, 256)
        hidden = nn.functional.silu(self.embed_in(waves.to(self.embed_in.weight.dtype)))  # (R, dim)
        embedded: Tensor = self.embed_out(hidden)  # (R, dim)
        return embedded
