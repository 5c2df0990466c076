"""Samplers on Gaussian data, where the way from noise to data is known: Euler is of order 1, Heun of order 2."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch

from soracli.diffusion.flow import time_grid
from soracli.diffusion.samplers import SAMPLERS, SamplerName, guided, sample_euler, sample_heun

MEAN, DEVIATION = 0.7, 0.4


def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
    """E[noise - data | x_t = x] for data of N(MEAN, DEVIATION^2)."""
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    return (t - (1 - t) * DEVIATION**2) / variance * (x - (1 - t) * MEAN) - MEAN


def error(name: SamplerName, steps: int, shift: float = 1.0) -> float:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    exact = MEAN + DEVIATION * noise  # the flow keeps every point at its quantile
    return float((SAMPLERS[name](velocity, noise, time_grid(steps, shift)) - exact).abs().max())


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2)])
@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_order_of_convergence(name, order, shift):
    errors = [error(name, steps, shift) for steps in (32, 64, 128, 256)]
    assert errors[-1] < 1e-2
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def test_data_of_one_point_are_reached_in_one_step():
    """Then the velocity at t = 1 already points at them."""
    for sampler in SAMPLERS.values():
        noise = torch.randn(4, dtype=torch.float64)
        point = sampler(lambda x, t, noise=noise: noise - 3.0, noise, time_grid(1))
        torch.testing.assert_close(point, torch.full((4,), 3.0, dtype=torch.float64))


def test_evaluations():
    """Heun costs two a step but the last; nobody asks at t = 0, where nothing is left to remove."""
    asked: list[float] = []

    def record(x: torch.Tensor, t: float) -> torch.Tensor:
        asked.append(t)
        return x

    sample_euler(record, torch.zeros(1), time_grid(4))
    assert asked == [1, 0.75, 0.5, 0.25]
    asked.clear()
    sample_heun(record, torch.zeros(1), time_grid(4))
    assert asked == [1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]


def test_every_name_has_a_sampler():
    assert set(get_args(SamplerName)) == set(SAMPLERS)


def test_guidance():
    conditional, unconditional = torch.randn(5), torch.randn(5)
    torch.testing.assert_close(guided(conditional, unconditional, 1.0), conditional)
    assert torch.equal(guided(conditional, unconditional, 0.0), unconditional)
    torch.testing.assert_close(guided(conditional, unconditional, 3.0), 3 * conditional - 2 * unconditional)
    assert torch.equal(guided(conditional, conditional, 7.0), conditional)
