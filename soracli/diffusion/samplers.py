"""From noise to data along a velocity: plain functions over ``velocity(x, t)``.

``x`` is of any shape, ``t`` a number, and ``times`` run from 1 (noise) down to 0 (data).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from soracli.diffusion.flow import data_from_velocity
from soracli.diffusion.options import SamplerName

Velocity = Callable[[Tensor, float], Tensor]


def sample_euler(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """One evaluation a step; the error of the whole way falls like the step (order 1)."""
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x = x + (then - now) * velocity(x, now)
    return x


def sample_heun(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """Two evaluations a step, order 2; the last step is Euler's, for at t = 0 there is nothing left to remove.

    Source: Karras et al. 2022 (arXiv:2206.00364), Algorithm 1 without churn.
    """
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        slope = velocity(x, now)
        ahead = x + (then - now) * slope
        if then > 0:
            slope = 0.5 * (slope + velocity(ahead, then))
        x = x + (then - now) * slope
    return x


def sample_dpmpp_2m(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """One evaluation a step, order 2: what the last two say of the data is followed in a straight line.

    The line is one over the logarithm of data to noise, ``log((1 - t) / t)``, which has no end at t = 1 and t = 0: the
    first two steps and the last are Euler's, and from noise to data the error falls like log N / N^2.
    Source: DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2) with alpha = 1 - t and sigma = t.
    """
    before: Tensor | None = None
    step_before = math.inf
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        data = data_from_velocity(x, velocity(x, now), now)
        step = _half_log_snr(then) - _half_log_snr(now)
        ahead = data
        if before is not None and then > 0:
            ahead = data + step / (2 * step_before) * (data - before)
        x = then / now * x + (1 - then / now) * ahead
        before, step_before = data, step
    return x


def _half_log_snr(t: float) -> float:
    """``log(alpha / sigma)`` of the straight path."""
    return -math.inf if t >= 1 else math.inf if t <= 0 else math.log((1 - t) / t)


SAMPLERS: dict[SamplerName, Callable[[Velocity, Tensor, Tensor], Tensor]] = {
    "euler": sample_euler,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
}
"""Samplers by their name in options and recipes."""


def times_from(times: Tensor, level: float) -> Tensor:
    """The part of a grid that begins at a noise level: the level, and the times below it.

    What is noised up to the level and taken along these times keeps what a level that low does not hide (SDEdit, Meng
    et al. 2021, arXiv:2108.01073).

    Args:
        times: ``(n + 1,)`` from 1 to 0.
        level: 0 to 1; at 0 there is no step to take.
    """
    return torch.cat([times.new_tensor([level]), times[times < level]])


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598), on all channels.

    Args:
        conditional: Velocity with the prompt.
        unconditional: Velocity without it, or with a negative one.
        scale: 1 is the conditional velocity alone; more goes further from the unconditional one.
    """
    return unconditional + scale * (conditional - unconditional)


def guided_by_two(
    unconditional: Tensor, with_source: Tensor, with_both: Tensor, *, source_scale: float, text_scale: float
) -> Tensor:
    """Guidance by a source and an instruction at scales of their own: ``p(x) p(s | x)^source p(i | x, s)^text``.

    Source: InstructPix2Pix (Brooks et al. 2022, arXiv:2211.09800, equation 3).

    Args:
        unconditional: Velocity with neither.
        with_source: Velocity with the source and no text, or a negative one.
        with_both: Velocity with the source and the instruction.
        source_scale: How much the source counts; 1 is as trained. Theirs is 1.2 to 1.5.
        text_scale: How much the instruction counts beyond the source; 1 is as trained. Theirs is 7.5.
    """
    towards_source, towards_text = with_source - unconditional, with_both - with_source
    return unconditional + source_scale * towards_source + text_scale * towards_text
