"""How near a decoded video is to the original, pixel by pixel: PSNR and SSIM, whole or inside a mask.

Axes: B videos, T frames, H rows, W columns. Videos are ``(B, 3, T, H, W)`` in [-1, 1]; what lies outside counts as
it is, so clamp first what would be clamped when shown. Figures come one per video: average those, not the errors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MAX_PSNR = 100.0
"""Figure of an exact copy, in dB, so that one exact video does not make a mean infinite."""

WINDOW = 11
"""Side of the window of SSIM, pixels."""
_SIGMA = 1.5
_LUMA = (0.299, 0.587, 0.114)
# Stabilisers (K1 L)^2 and (K2 L)^2 of the source, with the range L = 1.
_C1, _C2 = 0.01**2, 0.03**2


def psnr(decoded: Tensor, frames: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of each video over all its frames and colours, in dB, at most ``MAX_PSNR``.

    Args:
        decoded: ``(B, 3, T, H, W)``.
        frames: The original.
        mask: ``(B, T, H, W)``, bool or weights from 0 on: how much each pixel counts. None counts all once.

    Returns:
        ``(B,)``; NaN where the mask is empty.
    """
    _check(decoded, frames, mask)
    error = (decoded.double() - frames.double()).square().mean(1)
    mean = _mean_inside(error, mask)
    return (-10 * torch.log10(mean / 4)).clamp(max=MAX_PSNR)


def ssim(decoded: Tensor, frames: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity of each video: the mean over its frames of SSIM on luma (BT.601, gamma as stored).

    Source: Wang et al. 2004, Image quality assessment: from error visibility to structural similarity. As there: an
    11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, only places where the whole window lies inside the
    frame, no downsampling first.

    Args:
        decoded: ``(B, 3, T, H, W)``, sides at least 11.
        frames: The original.
        mask: ``(B, T, H, W)``, bool or weights: the result is the weighted mean of the SSIM map, each place standing
            for the pixel in the middle of its window (so the outermost 5 pixels never count). None counts all once.

    Returns:
        ``(B,)`` up to 1; NaN where the mask is empty.
    """
    _check(decoded, frames, mask)
    if min(frames.shape[3:]) < WINDOW:
        raise ValueError(f"SSIM needs frames of at least {WINDOW}x{WINDOW}, got {tuple(frames.shape[3:])}")
    ours, theirs = _luma(decoded), _luma(frames)  # (B T, 1, H, W)
    mean_ours, mean_theirs = _blur(ours), _blur(theirs)
    var_ours = _blur(ours * ours) - mean_ours**2
    var_theirs = _blur(theirs * theirs) - mean_theirs**2
    covariance = _blur(ours * theirs) - mean_ours * mean_theirs
    likeness = (2 * mean_ours * mean_theirs + _C1) * (2 * covariance + _C2)
    similarity = likeness / ((mean_ours**2 + mean_theirs**2 + _C1) * (var_ours + var_theirs + _C2))
    values = similarity[:, 0].unflatten(0, (frames.shape[0], -1)).double()  # (B, T, H - 10, W - 10)
    reach = WINDOW // 2
    return _mean_inside(values, None if mask is None else mask[:, :, reach:-reach, reach:-reach])


def _luma(video: Tensor) -> Tensor:
    """``(B, 3, T, H, W)`` in [-1, 1] to ``(B T, 1, H, W)`` in [0, 1]: SSIM compares means, so black must be 0."""
    grey = (video * video.new_tensor(_LUMA)[:, None, None, None]).sum(1)
    return (grey.flatten(0, 1)[:, None] + 1) / 2


def _blur(images: Tensor) -> Tensor:
    """Gaussian means of every whole window, one axis after the other."""
    place = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    kernel = torch.exp(-(place**2) / (2 * _SIGMA**2))
    kernel = kernel / kernel.sum()
    return functional.conv2d(functional.conv2d(images, kernel[None, None, :, None]), kernel[None, None, None, :])


def _mean_inside(values: Tensor, mask: Tensor | None) -> Tensor:
    """Weighted mean over all axes but the first, float64."""
    if mask is None:
        return values.flatten(1).mean(1)
    weights = mask.to(values)
    return (values * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)


def _check(decoded: Tensor, frames: Tensor, mask: Tensor | None) -> None:
    if decoded.shape != frames.shape or frames.ndim != 5 or frames.shape[1] != 3:
        raise ValueError(f"need two videos (B, 3, T, H, W) alike, got {tuple(decoded.shape)} and {tuple(frames.shape)}")
    if mask is not None and mask.shape != (frames.shape[0], *frames.shape[2:]):
        raise ValueError(f"mask {tuple(mask.shape)} does not fit video {tuple(frames.shape)}")
