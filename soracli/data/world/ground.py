"""Grounds and sky as colours of points: patterns from sums of waves, faded before they alias."""

from __future__ import annotations

import torch
from torch import Tensor

from soracli.data.world.grammar import ARENA, Ground

Rgb = tuple[Tensor, Tensor, Tensor]

_BASE: dict[Ground, tuple[float, float, float]] = {
    "grass": (0.10, 0.30, 0.05),
    "sand": (0.66, 0.46, 0.22),
    "snow": (0.80, 0.84, 0.90),
    "stone": (0.27, 0.27, 0.28),
}
# Waves of each pattern: (x frequency, z frequency, strength), radians a unit.
_WAVES: dict[Ground, tuple[tuple[float, float, float], ...]] = {
    "grass": ((3.1, 1.7, 0.13), (-2.3, 4.1, 0.13), (7.9, -5.3, 0.09)),
    "sand": ((1.3, 6.5, 0.09), (-0.9, 2.3, 0.06)),
    "snow": ((1.1, 0.8, 0.035), (-0.7, 1.9, 0.035)),
    "stone": ((2.2, 1.1, 0.05),),
}
_TILE = 1.0
_GROUT = 0.07
_KERB = 0.10
"""Width of the kerb around the arena, units."""


def ground_colour(kind: Ground, phase: tuple[float, float], x: Tensor, z: Tensor, footprint: Tensor) -> Rgb:
    """Linear colour of the ground.

    Args:
        kind: Which ground.
        phase: Shift of the pattern, units.
        x: ``(n,)`` units.
        z: ``(n,)`` units.
        footprint: ``(n,)`` units of ground that one pixel covers; patterns finer than that are averaged away.
    """
    value = torch.ones_like(x)
    # Each wave bends the next one, so that no straight stripes are seen.
    bend = torch.zeros_like(x)
    for along_x, along_z, strength in _WAVES[kind]:
        frequency = (along_x**2 + along_z**2) ** 0.5
        fade = torch.exp(-0.5 * (frequency * footprint).square().clamp(max=60))
        wave = torch.sin(along_x * (x + phase[0]) + along_z * (z + phase[1]) + 1.3 * bend)
        bend = wave
        value = value + strength * fade * wave
    if kind == "stone":
        value = value * (1 - 0.45 * _lines(x, z, footprint, _TILE, _GROUT))
    border = torch.maximum(x.abs(), z.abs()) - ARENA
    kerb = _band(border - 0.5 * _KERB, _KERB, footprint)
    value = value * (1 - 0.40 * kerb)
    red, green, blue = _BASE[kind]
    return red * value, green * value, blue * value


def _band(offset: Tensor, width: float, footprint: Tensor) -> Tensor:
    """How much of a pixel's footprint a band around ``offset`` = 0 covers, 0 to 1."""
    reach = 0.5 * footprint.clamp(min=1e-4)
    covered = torch.minimum(offset + reach, torch.tensor(0.5 * width)) - torch.maximum(
        offset - reach, torch.tensor(-0.5 * width)
    )
    return (covered.clamp(min=0) / (2 * reach)).clamp(max=1)


def _lines(x: Tensor, z: Tensor, footprint: Tensor, pitch: float, width: float) -> Tensor:
    """Coverage of a square grid of lines; far away it is the grid's mean."""
    near = [_band(place - pitch * torch.round(place / pitch), width, footprint) for place in (x, z)]
    mean = 2 * width / pitch
    far = (footprint / (0.5 * pitch)).clamp(max=1)
    return (1 - far) * torch.maximum(near[0], near[1]) + far * mean


def sky_colour(warmth: float, up: Tensor) -> Rgb:
    """Linear colour of the sky: pale at the horizon, blue above.

    Args:
        warmth: 0 (clear blue) to 1 (pale).
        up: ``(n,)`` sine of the angle above the horizon.
    """
    height = up.clamp(0, 1) ** 0.6
    horizon = (0.62 + 0.12 * warmth, 0.72 + 0.06 * warmth, 0.86 - 0.02 * warmth)
    zenith = (0.14 + 0.16 * warmth, 0.32 + 0.12 * warmth, 0.72)
    red, green, blue = ((1 - height) * low + height * high for low, high in zip(horizon, zenith, strict=True))
    return red, green, blue
