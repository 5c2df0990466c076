"""Steps so long that their mean velocity has to be learnt: where they begin and end, and what they are taught.

Source: shortcut models (Frans et al. 2024, arXiv:2410.12557): a step of size d is taught by two of d / 2. Differs from
the source: steps are those of the sampler's own grid, which is shifted, so the halves of a step are not equally long
and its mean velocity weighs them by their lengths; guidance is folded in at every size, for a scale that is an input
(as Meng et al. 2022, arXiv:2210.03142), not at the smallest alone for one scale; targets are not clipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.diffusion.objective import level_at, point_on_path, predicted_data, predicted_velocity, seen_on_path
from soracli.diffusion.options import ObjectiveName


@dataclass(frozen=True)
class Step:
    """One step of the sampler, in noise levels.

    Attributes:
        num_steps: How many of its size lead from noise to data.
        start: Where it begins.
        middle: Where its first half ends: half-way before the shift.
        end: Where it ends.
    """

    num_steps: int
    start: float
    middle: float
    end: float

    @property
    def size(self) -> float:
        """What a model is told of it: the share of the way, before the shift."""
        return 1 / self.num_steps


def step_at(objective: ObjectiveName, num_steps: int, number: int, shift: float) -> Step:
    """Step ``number`` (from 0, at the noise) of ``num_steps``; levels are those of ``sampling_times`` to the bit.

    ``num_steps`` is a power of two.
    """
    shares = 1 - torch.tensor([number, number + 0.5, number + 1], dtype=torch.float64) / num_steps
    start, middle, end = level_at(objective, shares, shift).tolist()
    return Step(num_steps, start, middle, end)


def draw_step(objective: ObjectiveName, largest: int, shift: float, generator: torch.Generator) -> Step:
    """Any step of 1, 2, 4, ... ``largest`` steps: each number of steps equally often, and each of its steps."""
    num_steps = 2 ** int(torch.randint(largest.bit_length(), (), generator=generator))
    number = int(torch.randint(num_steps, (), generator=generator))
    return step_at(objective, num_steps, number, shift)


def draw_level(objective: ObjectiveName, shift: float, generator: torch.Generator) -> float:
    """A noise level as often as a sampler of very many steps asks for it, in (0, 1]."""
    share = 1 - torch.rand((), generator=generator, dtype=torch.float64)
    return float(level_at(objective, share, shift))


def draw_scale(largest: float, generator: torch.Generator) -> float:
    """A guidance scale from 1 to ``largest``, evenly in its logarithm."""
    return math.exp(math.log(largest) * float(torch.rand((), generator=generator)))


def at_level(objective: ObjectiveName, seen: Tensor, target: Tensor, t: float, then: float) -> Tensor:
    """The same data with the same noise at another level, as a model sees them.

    Args:
        objective: What ``target`` says.
        seen: Data and noise mixed at level ``t``, of any shape.
        target: What a model should say of it.
        t: The level.
        then: The other level.
    """
    data = predicted_data(objective, seen, target, t)
    velocity = predicted_velocity(objective, seen, target, t)
    return seen_on_path(objective, data + then * velocity, then)


def half_way(objective: ObjectiveName, seen: Tensor, velocity: Tensor, step: Step) -> Tensor:
    """What a model sees after the first half of a step along a velocity, from what it saw at the start."""
    point = point_on_path(objective, seen, step.start) + (step.middle - step.start) * velocity
    return seen_on_path(objective, point, step.middle)


def mean_velocity(first: Tensor, second: Tensor, step: Step) -> Tensor:
    """Velocity that leads in one go where two halves lead: each weighs as much as it is long."""
    weight = (step.start - step.middle) / (step.start - step.end)
    return weight * first + (1 - weight) * second
