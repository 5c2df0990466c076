"""What the model sees of a noise level and what it says of it: two objectives behind one set of functions.

``flow``: it sees the point of the straight path, ``x_t = (1 - t) data + t noise``, and says the velocity, ``noise -
data``. ``v``: it sees the same point scaled to unit variance, ``(x_t / r)`` with ``r = sqrt((1 - t)^2 + t^2)``, and
says ``((1 - t) noise - t data) / r``: data and noise turned by an angle, and turned by a quarter more.

So ``t`` is the same in both: noise over data is ``t / (1 - t)``, and a level hides as much of the data whatever the
objective is. Noise on context, shifts, losses by level and a guidance interval mean the same, and the velocity of the
straight path can be read off either: samplers know no objective.
Source: v-prediction is Salimans and Ho 2022 (arXiv:2202.00512, appendix D), with W.A.L.T's noise schedule (Gupta et al.
2023, arXiv:2312.06662, section 4); that scaling turns one way from noise to data into another is Karras et al. 2022
(arXiv:2206.00364, section 2).
Differs from the source: the model is told ``t``, not the number of a step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from soracli.diffusion.flow import (
    data_from_velocity,
    interpolate,
    sample_times,
    shift_times,
    time_grid,
    velocity_target,
)
from soracli.diffusion.options import ObjectiveName


def seen_on_path(objective: ObjectiveName, x: Tensor, t: Tensor | float) -> Tensor:
    """A point of the straight path as the model sees it; ``t`` broadcasts, here and below."""
    return x if objective == "flow" else x / _radius(t)


def noised(objective: ObjectiveName, data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """What the model sees of data at a noise level: the data at 0, the noise at 1."""
    return seen_on_path(objective, interpolate(data, noise, t), t)


def prediction_target(objective: ObjectiveName, data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """What the model learns to say of it."""
    if objective == "flow":
        return velocity_target(data, noise)
    return interpolate(noise, -data, t) / _radius(t)


def predicted_data(objective: ObjectiveName, seen: Tensor, prediction: Tensor, t: Tensor | float) -> Tensor:
    """The data that a prediction says is behind what was seen.

    Args:
        objective: What was predicted.
        seen: What the model saw, of any shape.
        prediction: What it said of it, of the same shape.
        t: Noise level.
    """
    if objective == "flow":
        return data_from_velocity(seen, prediction, t)
    return ((1 - t) * seen - t * prediction) / _radius(t)


def predicted_velocity(objective: ObjectiveName, seen: Tensor, prediction: Tensor, t: Tensor | float) -> Tensor:
    """The velocity of the straight path, ``noise - data``, that a prediction says; arguments as ``predicted_data``."""
    if objective == "flow":
        return prediction
    return ((2 * t - 1) * seen + prediction) / _radius(t)


def point_on_path(objective: ObjectiveName, seen: Tensor, t: Tensor | float) -> Tensor:
    """The point of the straight path behind what the model sees: ``seen_on_path`` turned round."""
    return seen if objective == "flow" else seen * _radius(t)


def prediction_of(objective: ObjectiveName, seen: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
    """What a model has to say so that ``predicted_velocity`` finds this velocity."""
    if objective == "flow":
        return velocity
    return velocity * _radius(t) - (2 * t - 1) * seen


def training_times(objective: ObjectiveName, count: int, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """Noise levels to train at, ``(count,)``.

    ``flow``: logit-normal, in (0, 1). ``v``: evenly over the steps of the noise schedule, in (0, 1]. Both are then
    shifted towards noise.
    """
    if objective == "flow":
        return sample_times(count, generator, shift)
    steps = 1 - torch.rand(count, generator=generator, dtype=torch.float64)
    return shift_times(level_from_step(steps).float(), shift)


def sampling_times(objective: ObjectiveName, num_steps: int, shift: float = 1.0) -> Tensor:
    """``num_steps + 1`` noise levels from 1 to 0, float64, shifted as in training.

    ``flow``: evenly spaced. ``v``: evenly over the steps of the noise schedule, the noisiest first, as a terminal SNR
    of zero needs (Lin et al. 2023, arXiv:2305.08891, section 3.3). Near the data ``t`` is like the root of the
    share of steps left: the last step is long, halves with four times the steps, and holds any sampler to order 1.
    """
    if objective == "flow":
        return time_grid(num_steps, shift)
    return level_at(objective, torch.linspace(1, 0, num_steps + 1, dtype=torch.float64), shift)


def level_at(objective: ObjectiveName, share: Tensor, shift: float = 1.0) -> Tensor:
    """Noise level where a share of the way from noise to data is left, whatever the number of steps.

    Args:
        objective: Whose way.
        share: Of any shape, in [0, 1], float64.
        shift: As in ``sampling_times``, whose levels are those at even shares.
    """
    return shift_times(share if objective == "flow" else level_from_step(share), shift)


def level_from_step(share: Tensor) -> Tensor:
    """Noise level after a share of the steps of W.A.L.T's noise schedule, 0 (data) to 1 (noise).

    Its betas grow evenly from 1e-4 to 0.02 over 1000 steps; then all is rescaled so that nothing of the data is left
    after the last: zero terminal SNR (Lin et al. 2023, arXiv:2305.08891, algorithm 1).
    Differs from the source: the steps are infinitely many, ``alpha = exp(-b u / 2 - (B - b) u^2 / 4)`` with ``b = 0.1``
    and ``B = 20`` (Song et al. 2021, arXiv:2011.13456, appendix C), which is smooth and begins at the data themselves.
    Levels are within 0.0012 of the table's.

    Args:
        share: Of any shape, in [0, 1], float64.
    """
    low, high = 0.1, 20.0
    last = math.exp(-low / 2 - (high - low) / 4)
    alpha = (torch.exp(-low / 2 * share - (high - low) / 4 * share**2) - last) / (1 - last)
    alpha = alpha.clamp(0, 1)  # both ends are exact, however the exponential was rounded
    sigma = (1 - alpha**2).sqrt()
    return sigma / (alpha + sigma)


def _radius(t: Tensor | float) -> Tensor | float:
    """What scales a point of the straight path to unit variance, if the data have it."""
    radius: Tensor | float = ((1 - t) ** 2 + t**2) ** 0.5
    return radius
