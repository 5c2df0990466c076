"""A fixed linear code of patches, for a network to improve on.

Axes: B batch, T frames, H rows, W columns, C channels of the code; t, h, w the frames, rows and columns under a latent.
As everywhere the first frame of a video stands alone (patches of h x w pixels), every later group of t frames after it
(t x h x w). The matrices are set once and not trained: what is linear about video need not be found by descent, and a
network that starts at zero beside them starts where the best linear code ends.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from soracli.models.layers.causal import Tape


class LinearPath(nn.Module):
    """Two affine maps, one for first frames and one for later groups, that are no parameters."""

    first_weight: Tensor
    first_bias: Tensor
    later_weight: Tensor
    later_bias: Tensor

    def __init__(self, first: tuple[int, int], later: tuple[int, int]) -> None:
        """Sizes are (numbers in, numbers out); all is zero until it is set."""
        super().__init__()
        for name, (inside, outside) in (("first", first), ("later", later)):
            self.register_buffer(f"{name}_weight", torch.zeros(outside, inside))
            self.register_buffer(f"{name}_bias", torch.zeros(outside))

    def forward(self, x: Tensor, first: bool) -> Tensor:
        """``(..., numbers in)`` to ``(..., numbers out)``."""
        weight, bias = (self.first_weight, self.first_bias) if first else (self.later_weight, self.later_bias)
        return nn.functional.linear(x, weight, bias)


class LinearEncoder(LinearPath):
    """Frames to latents."""

    def __init__(self, channels: int, compression: tuple[int, int, int]) -> None:
        time, height, width = self.compression = compression
        super().__init__((3 * height * width, channels), (3 * time * height * width, channels))

    def forward(self, frames: Tensor, tape: Tape) -> Tensor:  # type: ignore[override]
        """``(B, 3, T, H, W)`` to ``(B, T', H / h, W / w, C)``."""
        time, height, width = self.compression
        parts = []
        if tape.is_start:
            patches = rearrange(frames[:, :, :1], "b c t (y p) (x q) -> b t y x (c p q)", p=height, q=width)
            parts.append(super().forward(patches, True))  # (B, 1, H', W', C)
            frames = frames[:, :, 1:]
        patches = rearrange(frames, "b c (t f) (y p) (x q) -> b t y x (c f p q)", f=time, p=height, q=width)
        parts.append(super().forward(patches, False))  # (B, (T - 1) / t, H', W', C)
        return torch.cat(parts, 1)  # (B, T', H', W', C)


class LinearDecoder(LinearPath):
    """Latents to frames."""

    def __init__(self, channels: int, compression: tuple[int, int, int]) -> None:
        time, height, width = self.compression = compression
        super().__init__((channels, 3 * height * width), (channels, 3 * time * height * width))

    def forward(self, latents: Tensor, tape: Tape) -> Tensor:  # type: ignore[override]
        """``(B, C, T', H', W')`` to ``(B, 3, T, H, W)``."""
        time, height, width = self.compression
        codes = rearrange(latents, "b c t y x -> b t y x c")  # (B, T', H', W', C)
        parts = []
        if tape.is_start:
            patches = super().forward(codes[:, :1], True)  # (B, 1, H', W', 3 h w)
            parts.append(rearrange(patches, "b t y x (c p q) -> b c t (y p) (x q)", p=height, q=width))
            codes = codes[:, 1:]
        patches = super().forward(codes, False)  # (B, T' - 1, H', W', 3 t h w)
        parts.append(rearrange(patches, "b t y x (c f p q) -> b c (t f) (y p) (x q)", f=time, p=height, q=width))
        return torch.cat(parts, 2)  # (B, 3, T, H, W)
