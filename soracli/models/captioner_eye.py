"""What of a captioner looks: frames to tokens by convolutions, then a transformer over all of them in space and time.

Axes: B clips, T frames, S side, G = S / 16 rows and columns of tokens of a frame, L = T G G, D width.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.config import CaptionerConfig
from soracli.models.layers.attention import RMSNorm
from soracli.models.layers.batch_attention import VideoBlock
from soracli.models.layers.causal import Kernel, PositionNorm
from soracli.models.layers.embeddings import NumberEmbedding
from soracli.models.layers.rope import rope_angles, rope_frequencies

_PATCH = 4
_LONGEST = 16.0
"""Seconds that the embedding of times counts as 1."""


class _Block(nn.Module):
    """Residual: normalise, convolve twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = PositionNorm(width)
        self.first = Kernel(width, width, 3)
        self.second = Kernel(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same."""
        inside = self.first(functional.silu(self.norm(x)))  # (N, H, W, C)
        residual: Tensor = self.second(functional.silu(inside))  # (N, H, W, C)
        return x + residual  # (N, H, W, C)


class CaptionerEye(nn.Module):
    """Frames with their times to tokens; a picture is a video of one frame."""

    frequencies: Tensor
    places: Tensor

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        dim = config.hidden_size
        self.cells = config.side // (4 * _PATCH)
        # Each frame beside the one before it: what moves shows in the first layer already.
        self.stem = Kernel(2 * 3 * _PATCH**2, fine)
        self.fine = nn.Sequential(*(_Block(fine) for _ in range(config.blocks[0])))
        self.to_middle = Kernel(fine, middle, 3, stride=2)
        self.middle = nn.Sequential(*(_Block(middle) for _ in range(config.blocks[1])))
        self.to_coarse = Kernel(middle, coarse, 3, stride=2)
        self.coarse = nn.Sequential(*(_Block(coarse) for _ in range(config.blocks[2])))
        self.to_tokens = nn.Linear(coarse, dim)
        self.cell_embed = nn.Parameter(0.02 * torch.randn(self.cells**2, dim))
        self.time_embed = NumberEmbedding(dim)
        self.blocks = nn.ModuleList(
            VideoBlock(dim, config.num_heads, config.mlp_ratio) for _ in range(config.video_depth)
        )
        self.norm = RMSNorm(dim)
        self.register_buffer("frequencies", rope_frequencies(dim // config.num_heads), persistent=False)
        place = (torch.arange(self.cells) + 0.5) / self.cells - 0.5
        self.register_buffer("places", torch.cartesian_prod(place, place), persistent=False)

    def forward(self, frames: Tensor, times: Tensor) -> Tensor:
        """See.

        Args:
            frames: ``(B, T, 3, S, S)`` in [-1, 1].
            times: ``(B, T)`` seconds since the first frame.

        Returns:
            ``(B, L, D)``.
        """
        batch, num_frames = times.shape
        patches = rearrange(frames, "b t c (h p) (w q) -> b t h w (c p q)", p=_PATCH, q=_PATCH)
        before = torch.cat([patches[:, :1], patches[:, :-1]], 1)
        x = self.stem(torch.cat([patches, before], -1).flatten(0, 1))  # (B T, 4 G, 4 G, fine)
        x = self.middle(self.to_middle(self.fine(x)))  # (B T, 2 G, 2 G, middle)
        x = self.coarse(self.to_coarse(x))  # (B T, G, G, coarse)
        x = self.to_tokens(x).flatten(1, 2) + self.cell_embed  # (B T, G G, D)
        x = x + self.time_embed(times.flatten() / _LONGEST)[:, None]  # (B T, G G, D)
        x = x.view(batch, -1, x.shape[-1])  # (B, L, D)
        moments = times[:, :, None, None].expand(-1, -1, self.cells**2, 1)  # (B, T, G G, 1)
        where = self.places.expand(batch, num_frames, -1, -1)  # (B, T, G G, 2)
        angles = rope_angles(torch.cat([moments, where], -1).flatten(0, 2), self.frequencies)  # (B L, P)
        for block in self.blocks:
            x = block(x, angles)  # (B, L, D)
        normed: Tensor = self.norm(x)  # (B, L, D)
        return normed
