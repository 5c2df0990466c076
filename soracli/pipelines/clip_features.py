"""Features of short videos, to tell which of many clips one is most like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.image_features import WIDTH, find_feature_weights, load_feature_network, picture_features

NUM_FRAMES, SECONDS_BETWEEN = 4, 0.75
"""Frames that are looked at: at 0, 0.75, 1.5 and 2.25 seconds."""
_THUMBNAIL = 16


@dataclass(frozen=True)
class FeatureKind:
    """One way to describe a video.

    Attributes:
        name: For people.
        widths: Columns of each of its parts.
        describe: Makes ``(D,)`` of the frames looked at, ``(NUM_FRAMES, H, W, 3)`` uint8.
        protocol: What it is, for people.
    """

    name: str
    widths: tuple[int, ...]
    describe: Callable[[Tensor], Tensor]
    protocol: str


def feature_kinds(device: torch.device) -> list[FeatureKind]:
    """Thumbnails, and features of an ImageNet network where its weights are installed.

    Raises:
        ArtifactError: If the weights that are installed are not those that are known.
    """
    kinds = [
        FeatureKind(
            name="thumbnails",
            widths=(NUM_FRAMES * _THUMBNAIL**2 * 3,),
            describe=thumbnails,
            protocol=f"colour thumbnails of {_THUMBNAIL}x{_THUMBNAIL}",
        )
    ]
    if find_feature_weights() is None:
        return kinds
    network = load_feature_network(device)
    kinds.append(
        FeatureKind(
            name="EfficientNet-Lite0",
            widths=(WIDTH, WIDTH),
            describe=lambda frames: network_features(network, frames),
            protocol="ImageNet EfficientNet-Lite0, its mean over the frames and its mean absolute change between them",
        )
    )
    return kinds


def frames_looked_at(frames: Tensor, fps: float) -> Tensor:
    """The frames that features are made of, ``(NUM_FRAMES, H, W, 3)``; a shorter video holds its last one.

    Args:
        frames: ``(T, H, W, 3)`` uint8.
        fps: Frames a second.
    """
    picked = [min(len(frames) - 1, round(number * SECONDS_BETWEEN * fps)) for number in range(NUM_FRAMES)]
    return frames[picked]


def thumbnails(frames: Tensor) -> Tensor:
    """Small colour pictures of the frames, in [0, 1]."""
    pictures = frames.permute(0, 3, 1, 2).float() / 255
    return functional.adaptive_avg_pool2d(pictures, _THUMBNAIL).flatten()


def network_features(network: nn.Module, frames: Tensor) -> Tensor:
    """Mean over the frames of the network's features, and their mean absolute change from frame to frame."""
    features = picture_features(network, frames)
    return torch.cat([features.mean(0), features.diff(dim=0).abs().mean(0)])
