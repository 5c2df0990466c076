"""The discriminator: patches of video to logits, high for real frames and low for decoded ones.

Axes: B batch, C channels, T frames, H rows, W columns. A pyramid of 3D convolutions; before each halving of space or
time a binomial filter takes away what the coarser grid cannot hold, so that logits do not hang on where the grid falls.

Sources: the patches of Isola et al. 2016 (pix2pix, arXiv:1611.07004) in three dimensions, as in VidTok (Tang et al.
2024, arXiv:2412.13061); the filters of Zhang 2019 (arXiv:1904.11486: convolution, nonlinearity, blur, subsampling), as
MAGVIT-v2 has them (Yu et al. 2023, arXiv:2310.05737).

Differs from the sources:

- The norm is over the channels of one position (``PositionNorm``), where they have batch or group norms: nothing over
  the batch, so ranks and batch sizes agree, and nothing over space or time, so sizes and lengths do. After it the scale
  of the weights is no matter, so a penalty on them would not tame the logits; R1 on the frames and LeCam on the logits
  do. There is no spectral norm: its power iteration is state that a forward pass changes.
- Weights are kept at unit variance and scaled as they are used (equalised learning rate, Karras et al. 2017,
  arXiv:1710.10196, section 4.1). Otherwise Adam's equal steps move the logits of all frames together by more than what
  tells real frames from decoded ones, and the game does not begin. Rates of 1e-3 to 3e-3 suit it.
- Few channels at full resolution: 15.1 kFLOP a pixel of video at the default widths, 0.46 of a decoder pass of the nano
  VAE at 25 frames of 64x64 (0.41 for single pictures), as ``torch.utils.flop_counter`` counts.
- Before the first frame and after the last those two are seen again: a picture is a video in which nothing moves.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.config import DiscriminatorConfig
from soracli.models.layers.causal import PositionNorm

_SLOPE = 0.2


class PatchDiscriminator(nn.Module):
    """Logits of overlapping patches, one for ``config.compression`` frames, rows and columns."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        # A leaky ReLU of slope s leaves (1 + s^2) / 2 of a variance (He et al. 2015, arXiv:1502.01852).
        gain = math.sqrt(2 / (1 + _SLOPE**2))
        self.stem = _Convolution(3, widths[0], gain)
        self.levels = nn.ModuleList(_Convolution(fine, coarse, gain) for fine, coarse in pairwise(widths))
        self.norms = nn.ModuleList(PositionNorm(width) for width in widths[1:])
        self.head = _Convolution(widths[-1], 1, 1.0)

    def forward(self, frames: Tensor) -> Tensor:
        """Judge a video, or a picture as a video of one frame.

        Args:
            frames: ``(B, 3, T, H, W)`` in [-1, 1], of any length and size.

        Returns:
            Logits ``(B, T', H', W')``; each axis is the frames' over ``config.compression``, rounded up.
        """
        x = frames.contiguous(memory_format=torch.channels_last_3d)
        x = functional.leaky_relu(self.stem(x), _SLOPE)  # (B, C, T, H, W)
        for level, norm, stride in zip(self.levels, self.norms, self.config.temporal_strides, strict=True):
            x = blur_halve(blur_halve(x, 3), 4)  # (B, C, T, H/2, W/2)
            if stride == 2:
                x = blur_halve(x, 2)  # (B, C, T/2, H/2, W/2)
            x = level(x)  # (B, C', T/s, H/2, W/2)
            x = norm(x.movedim(1, -1)).movedim(-1, 1)  # (B, C', T/s, H/2, W/2)
            x = functional.leaky_relu(x, _SLOPE)
        return self.head(x).squeeze(1)  # (B, T', H', W')


class _Convolution(nn.Module):
    """3x3x3, of stride 1; beyond the edges of a frame are zeros, beyond the ends of a video its end frames."""

    def __init__(self, in_channels: int, out_channels: int, gain: float) -> None:
        super().__init__()
        self.scale = gain / math.sqrt(27 * in_channels)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` to ``(B, C', T, H, W)``."""
        longer = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
        return functional.conv3d(longer, self.scale * self.weight, self.bias, padding=(0, 1, 1))


def blur_halve(x: Tensor, dim: int) -> Tensor:
    """Filter one axis with (1, 2, 1) / 4 and keep every second value, from the first on.

    Args:
        x: Any tensor; beyond its ends the end values are repeated, so an axis of one value stays as it is.
        dim: Which axis, not negative.

    Returns:
        As ``x``, its axis half as long, rounded up.
    """
    kept, between = _every_second(x, dim, 0), _every_second(x, dim, 1)
    length = kept.shape[dim]
    before = torch.cat([x.narrow(dim, 0, 1), between], dim).narrow(dim, 0, length)
    after = torch.cat([between, x.narrow(dim, x.shape[dim] - 1, 1)], dim).narrow(dim, 0, length)
    return 0.5 * kept + 0.25 * (before + after)


def _every_second(x: Tensor, dim: int, first: int) -> Tensor:
    return x[(slice(None),) * dim + (slice(first, None, 2),)]
