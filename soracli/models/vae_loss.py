"""What the VAE is trained with: weighted absolute error, edges, and divergence from a normal.

Axes: B batch, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def posterior_sample(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """A draw from the encoder's Gaussian: ``mean + exp(log_variance / 2) * noise`` (Kingma and Welling 2013)."""
    return mean + (0.5 * log_variance).exp() * noise


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Mean over all numbers of KL(N(mean, variance) || N(0, 1)), in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def emphasis_weights(frames: Tensor, emphasis: float) -> Tensor:
    """How much each pixel counts: more the further it is from its frame's mean colour.

    Flat sky and ground are most of a frame and easy; without this a VAE forgets the small things that move.

    Args:
        frames: ``(B, 3, T, H, W)`` in [-1, 1].
        emphasis: 0 counts every pixel once.

    Returns:
        ``(B, 1, T, H, W)`` with mean 1 over each frame.
    """
    distance = (frames - frames.mean((3, 4), keepdim=True)).abs().mean(1, keepdim=True)
    weights = 1 + emphasis * distance
    return weights / weights.mean((3, 4), keepdim=True)


def reconstruction_loss(decoded: Tensor, frames: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted absolute error, and the same of differences between neighbours.

    Args:
        decoded: ``(B, 3, T, H, W)``.
        frames: What should have come out.
        weights: Of ``emphasis_weights``.

    Returns:
        Two numbers: the mean absolute error, and the mean absolute error of horizontal and vertical differences.
    """
    error = decoded - frames
    l1 = (error.abs() * weights).mean()
    across = (error.diff(dim=4).abs() * weights[..., 1:]).mean()
    down = (error.diff(dim=3).abs() * weights[..., 1:, :]).mean()
    return l1, across + down


def psnr(decoded: Tensor, frames: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of frames in [-1, 1], over everything at once."""
    return -10 * torch.log10((decoded - frames).square().mean() / 4)
