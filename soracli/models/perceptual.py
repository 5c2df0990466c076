"""How different two videos look to a network that has learned to see: frame by frame, one number.

Axes: B batch, C channels, T frames, H rows, W columns.

Source: Zhang et al. 2018 (arXiv:1801.03924, equation 1): maps with channels scaled to unit length, squared differences,
a mean over places and a sum over maps. Differs from the source: channels have no learned weights, all count alike (as
it says, that is the cosine distance), because the networks here are any.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.core.errors import UsageError
from soracli.models.config import PerceptualConfig
from soracli.models.image_backbone import Backbone, lite0_backbone, timm_backbone

_LEAST_SQUARE = 1e-10


def load_perceptual(config: PerceptualConfig, device: torch.device | str = "cpu") -> PerceptualDistance | None:
    """The distance that a recipe asks for, None when it is off.

    Raises:
        SoraError: If its package or file is missing, damaged or of another network, or the network is unknown.
    """
    if config.network == "off":
        return None
    lite0 = config.network == "efficientnet_lite0"
    backbone = lite0_backbone() if lite0 else timm_backbone(config.backbone, Path(config.weights))
    return PerceptualDistance(backbone).to(device)


class PerceptualDistance(nn.Module):
    """Symmetric, at least 0, and 0 for equal videos; gradients go to the frames alone.

    At most 4 for each map that the network gives.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.network = backbone.network
        self.size, self.channel_axis = backbone.size, backbone.channel_axis
        self.register_buffer("mean", torch.tensor(backbone.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std)[:, None, None], persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Stay as in evaluation: norms use the figures that they learned on ImageNet, nothing is dropped."""
        return super().train(False)

    def check_size(self, height: int, width: int) -> None:
        """Whether the network takes frames of this size, before a training rests on it.

        Raises:
            UsageError: If it does not; some networks need a least size.
        """
        try:
            with torch.no_grad():
                self._unit_maps(self.mean.new_zeros(1, 3, 1, height, width))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UsageError(
                f"the perceptual network cannot take frames of {width}x{height}: use larger ones or another network "
                f"({str(error).splitlines()[0]})"
            ) from error

    def forward(self, decoded: Tensor, frames: Tensor) -> Tensor:
        """The mean distance over all frames, one number.

        Args:
            decoded: ``(B, 3, T, H, W)``, about [-1, 1].
            frames: What should have come out. Without a gradient it costs a forward pass only.
        """
        return self.by_frame(decoded, frames).mean()

    def by_frame(self, decoded: Tensor, frames: Tensor) -> Tensor:
        """The distance of each frame, ``(B, T)``; arguments as for ``forward``."""
        # Two passes rather than one over both: the graph of the second is not kept when nobody needs it.
        ours, theirs = self._unit_maps(decoded), self._unit_maps(frames)
        distances = [
            (one - other).square().sum(self.channel_axis).flatten(1).mean(1)
            for one, other in zip(ours, theirs, strict=True)
        ]
        return torch.stack(distances).sum(0).unflatten(0, (decoded.shape[0], decoded.shape[2]))

    def _unit_maps(self, frames: Tensor) -> list[Tensor]:
        """What the network sees in each frame, ``(B T, C, H', W')`` and the like, channels of length 1."""
        pictures = frames.transpose(1, 2).flatten(0, 1)  # (B T, 3, H, W)
        if self.size is not None:
            pictures = functional.interpolate(pictures, self.size, mode="bilinear", antialias=True)
        maps = self.network(((pictures + 1) / 2 - self.mean) / self.std)
        exact = [x.to(torch.promote_types(x.dtype, torch.float32)) for x in maps]
        return [x * (x.square().sum(self.channel_axis, keepdim=True) + _LEAST_SQUARE).rsqrt() for x in exact]


def spread_frames(num_frames: int, most: int, generator: torch.Generator) -> Tensor:
    """Which frames of a clip to look at: evenly spread, from a place that is drawn.

    Every frame is as likely as every other, so the mean over those picked is, on average, the mean over all.

    Args:
        num_frames: Frames of the clip.
        most: Frames to look at, at most; 0 for all.
        generator: Decides the place; on the CPU.

    Returns:
        ``(min(num_frames, most),)`` indices, int64, growing.
    """
    if most == 0 or most >= num_frames:
        return torch.arange(num_frames)
    start = torch.rand((), generator=generator, dtype=torch.float64)
    places = (torch.arange(most) + start) * (num_frames / most)
    return places.long().clamp(max=num_frames - 1)
