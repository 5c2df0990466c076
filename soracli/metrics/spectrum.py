"""Which spatial frequencies latents are made of.

Diffusion makes coarse things first and fine ones last, so latents whose energy falls with frequency, as that of
pictures does, are easier to learn than latents near white noise (Skorokhodov et al. 2025, arXiv:2502.14831). As there
frequencies are those of the cosine transform, which sees no edge where a frame ends.

Axes: C channels, T latent frames, H rows, W columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BANDS = ("constant", "low", "middle", "high")
"""Names of bands of frequency: the mean of a frame, then up to a quarter, a half and all of the highest frequency of a
row or column."""
_EDGES = (0.0, 0.25, 0.5)
_SMALLEST = 1e-20


def cosine_power(latents: Tensor) -> Tensor:
    """Mean power of each coefficient of the orthonormal cosine transform (DCT-II) of frames.

    Args:
        latents: ``(C, T, H, W)``.

    Returns:
        ``(C, H, W)`` float64, the mean over frames; the sum over rows and columns is the mean over frames of the sum
        of squares.
    """
    down, across = _cosines(latents.shape[2]), _cosines(latents.shape[3])
    coefficients = down @ latents.double().cpu() @ across.T
    return coefficients.square().mean(1)


def band_shares(power: Tensor) -> Tensor:
    """Share of the energy in each of ``BANDS``.

    Args:
        power: ``(..., H, W)`` of ``cosine_power``.

    Returns:
        ``(..., 4)``, sums to 1; NaN where there is no energy at all.
    """
    band = torch.bucketize(_frequencies(*power.shape[-2:]), torch.tensor(_EDGES, dtype=torch.float64))
    sums = torch.stack([power[..., band == number].sum(-1) for number in range(len(BANDS))], -1)
    return sums / sums.sum(-1, keepdim=True)


def noise_shares(height: int, width: int) -> Tensor:
    """The shares ``(4,)`` of white noise in frames of this size: those of the coefficients themselves."""
    return band_shares(torch.ones(height, width, dtype=torch.float64))


def spectral_slope(power: Tensor) -> float:
    """How power falls with frequency: the slope of its logarithm over that of the frequency, by least squares.

    0 is white noise, about -2 is a photograph (Field 1987).

    Args:
        power: ``(H, W)``.

    Returns:
        NaN when there are fewer than two frequencies above 0, or no energy.
    """
    frequencies = _frequencies(*power.shape)
    chosen = frequencies > 0
    if len(frequencies[chosen].unique()) < 2 or float(power.sum()) <= 0:
        return math.nan
    x, y = frequencies[chosen].log(), power[chosen].clamp(min=_SMALLEST).log()
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


def _cosines(count: int) -> Tensor:
    """The orthonormal DCT-II as a matrix, one frequency a row."""
    place = torch.arange(count, dtype=torch.float64)
    rows = torch.cos(math.pi * (2 * place + 1) * place[:, None] / (2 * count)) * math.sqrt(2 / count)
    rows[0] /= math.sqrt(2)
    return rows


def _frequencies(height: int, width: int) -> Tensor:
    """Frequency of each coefficient as a share of the highest that a row or column can hold."""
    down, across = (torch.arange(count, dtype=torch.float64) / count for count in (height, width))
    return (down[:, None].square() + across.square()).sqrt()
