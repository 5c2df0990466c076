"""Rotary positions over continuous coordinates: seconds, rows and columns.

Axes: L tokens, N heads, K width of a head, P = K / 2 pairs. Time is in seconds and rows and columns in units of
``PIXELS_PER_UNIT`` pixels from the middle of the frame, whatever the rate and the resolution, so a keyframe at one
frame a second and a clip at 24, a square and a 16:9, are the same kind of thing.
Source: RoFormer (Su et al. 2021, arXiv:2104.09864), extended to three axes by splitting the pairs among them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PIXELS_PER_UNIT = 128.0
# Shortest and longest wavelength of each axis: seconds, units, units.
_WAVELENGTHS = ((0.5, 32.0), (0.2, 8.0), (0.2, 8.0))


def rope_frequencies(head_width: int) -> Tensor:
    """Angular frequencies ``(3, P)``: each pair turns with one coordinate and has 0 for the others.

    Args:
        head_width: K, even and at least 6; time gets the pairs that do not divide evenly.
    """
    pairs = head_width // 2
    space = pairs // 3
    shares = (pairs - 2 * space, space, space)
    table = torch.zeros(3, pairs)
    start = 0
    for axis, (count, (shortest, longest)) in enumerate(zip(shares, _WAVELENGTHS, strict=True)):
        waves = torch.logspace(math.log10(shortest), math.log10(longest), count)
        table[axis, start : start + count] = 2 * math.pi / waves
        start += count
    return table


def rope_angles(coordinates: Tensor, frequencies: Tensor) -> Tensor:
    """Angles ``(L, P)`` of tokens at ``(L, 3)``, float32 for exactness."""
    # Not a matrix product: GPUs may round its factors to 10 bits, and angles reach a hundred radians.
    return (coordinates.float()[:, :, None] * frequencies.float()).sum(1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn pairs of channels by their angles.

    Args:
        x: ``(L, N, K)`` queries or keys.
        angles: ``(L, P)``.

    Returns:
        ``(L, N, K)``; products of rotated queries and keys depend on differences of coordinates only.
    """
    cos, sin = angles.cos()[:, None].to(x.dtype), angles.sin()[:, None].to(x.dtype)  # (L, 1, P)
    first, second = x.chunk(2, -1)  # (L, N, P)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)  # (L, N, K)
