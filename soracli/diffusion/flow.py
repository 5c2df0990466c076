"""The straight path between data and noise.

Convention: t = 0 is data, t = 1 is noise, ``x_t = (1 - t) data + t noise``, velocity = noise - data. (Mochi and SiT run
the other way.)
Source: rectified flow (Liu et al. 2022, arXiv:2209.03003); logit-normal times and the shift by size are those of
Stable Diffusion 3 (Esser et al. 2024, arXiv:2403.03206, sections 3.1 and 5.3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor


def interpolate(data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """Point on the path, ``(1 - t) data + t noise``; ``t`` broadcasts."""
    return (1 - t) * data + t * noise


def velocity_target(data: Tensor, noise: Tensor) -> Tensor:
    """What the model learns: ``noise - data``, the same everywhere on the path."""
    return noise - data


def data_from_velocity(x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
    """Where the straight line from ``x`` at time ``t`` ends: ``x - t velocity``."""
    return x - t * velocity


def shift_times(t: Tensor, shift: float) -> Tensor:
    """Move times towards noise: ``s t / (1 + (s - 1) t)``; 1 changes nothing.

    More numbers that say the same thing need more noise to hide it, so larger latents take a larger shift.
    """
    return shift * t / (1 + (shift - 1) * t)


def sample_times(count: int, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """Times to train at: ``sigmoid(normal)``, shifted; ``(count,)`` in (0, 1)."""
    return shift_times(torch.sigmoid(torch.randn(count, generator=generator)), shift)


def time_grid(num_steps: int, shift: float = 1.0) -> Tensor:
    """``num_steps + 1`` times from 1 to 0, evenly spaced before the shift."""
    return shift_times(torch.linspace(1, 0, num_steps + 1, dtype=torch.float64), shift)
