"""Samplers on Gaussian data, where the way from noise to data is known: Euler is of order 1, the others of order 2."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch

from soracli.diffusion.flow import time_grid
from soracli.diffusion.samplers import (
    SAMPLERS,
    SamplerName,
    guided,
    guided_by_two,
    sample_dpmpp_2m,
    sample_euler,
    sample_heun,
)

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


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_dpmpp_is_of_order_2_but_for_a_logarithm(shift):
    """Its steps near the ends are long in the logarithm, however many there are: the error falls like log N / N^2."""
    counts = (256, 512, 1024)
    errors = [error("dpmpp_2m", steps, shift) for steps in counts]
    for (few, coarse), (many, fine) in pairwise(zip(counts, errors, strict=True)):
        expected = 2 - math.log2(math.log(many) / math.log(few))
        assert 1.8 < expected < 1.9 and math.log2(coarse / fine) == pytest.approx(expected, abs=0.15)


def test_dpmpp_needs_fewer_evaluations():
    """At what people sample with: 16 of them are worth more than 15 of Heun's and more than 16 of Euler's."""
    assert error("dpmpp_2m", 16) < 0.3 * error("heun", 8) and error("dpmpp_2m", 16) < 0.1 * error("euler", 16)


def test_dpmpp_is_of_order_2_away_from_the_ends():
    """Where the logarithm of data to noise is finite all steps but the first are of order 2; a plain form beside it."""
    times = [torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64) for steps in (32, 64, 128, 256)]
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def on_path(t: float) -> torch.Tensor:
        return (1 - t) * MEAN + math.sqrt((1 - t) ** 2 * DEVIATION**2 + t**2) * noise

    def away(grid: torch.Tensor) -> float:
        return float((sample_dpmpp_2m(velocity, on_path(0.9), grid) - on_path(0.1)).abs().max())

    for coarse, fine in pairwise(away(grid) for grid in times):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.1)


def test_dpmpp_as_it_is_listed():
    """Algorithm 2 of its paper word for word, in alpha, sigma and lambda, with any velocity."""
    times = [0.95, 0.8, 0.6, 0.35, 0.2, 0.05]
    x = start = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def bent(x: torch.Tensor, t: float) -> torch.Tensor:
        return torch.sin(3 * x) + t**2

    lambdas = [math.log((1 - t) / t) for t in times]
    seen: list[torch.Tensor] = []
    for i in range(1, len(times)):
        seen.append(x - times[i - 1] * bent(x, times[i - 1]))
        h = lambdas[i] - lambdas[i - 1]
        if i == 1:
            d = seen[0]
        else:
            r = (lambdas[i - 1] - lambdas[i - 2]) / h
            d = (1 + 1 / (2 * r)) * seen[-1] - 1 / (2 * r) * seen[-2]
        x = times[i] / times[i - 1] * x - (1 - times[i]) * (math.exp(-h) - 1) * d
    torch.testing.assert_close(sample_dpmpp_2m(bent, start, torch.tensor(times, dtype=torch.float64)), x)


def test_the_steps_of_dpmpp_without_a_logarithm_are_eulers():
    def bent(x: torch.Tensor, t: float) -> torch.Tensor:
        return torch.sin(3 * x) + t**2

    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    for steps in (1, 2, 3):
        grid = time_grid(steps, 1.5)
        torch.testing.assert_close(sample_dpmpp_2m(bent, noise, grid), sample_euler(bent, noise, grid))
    assert (sample_dpmpp_2m(bent, noise, time_grid(4)) - sample_euler(bent, noise, time_grid(4))).abs().max() > 1e-3


def test_data_of_one_point_are_reached_in_one_step():
    """Then the velocity at t = 1 already points at them."""
    for sampler in SAMPLERS.values():
        noise = torch.randn(4, dtype=torch.float64)
        point = sampler(lambda x, t, noise=noise: noise - 3.0, noise, time_grid(1))
        torch.testing.assert_close(point, torch.full((4,), 3.0, dtype=torch.float64))


def test_evaluations():
    """Heun costs two a step but the last, the others one; nobody asks at t = 0, where nothing is left to remove."""
    asked: list[float] = []

    def record(x: torch.Tensor, t: float) -> torch.Tensor:
        asked.append(t)
        return x

    sample_euler(record, torch.zeros(1), time_grid(4))
    assert asked == [1, 0.75, 0.5, 0.25]
    asked.clear()
    sample_dpmpp_2m(record, torch.zeros(1), time_grid(4))
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


@pytest.mark.parametrize(("source_scale", "text_scale"), [(1.0, 1.0), (1.5, 7.5), (0.0, 0.0), (2.0, 1.0)])
def test_two_scales_are_two_powers(source_scale, text_scale):
    """Of x ~ N(0, 1) seen twice with noise, by autograd: the score of p(x) p(s | x)^a p(i | x, s)^b."""
    x = torch.randn(9, dtype=torch.float64, requires_grad=True)
    source, text, variance = 0.7, -1.2, (0.5, 2.0)
    prior, seen, told = (
        -x.square() / 2,
        -(x - source).square() / 2 / variance[0],
        -(x - text).square() / 2 / variance[1],
    )

    def score(log_density):
        return torch.autograd.grad(log_density.sum(), x, retain_graph=True)[0]

    found = guided_by_two(
        score(prior), score(prior + seen), score(prior + seen + told), source_scale=source_scale, text_scale=text_scale
    )
    torch.testing.assert_close(found, score(prior + source_scale * seen + text_scale * told))


def test_one_of_two_scales_is_one_scale():
    neither, source, both = torch.randn(3, 5)
    torch.testing.assert_close(
        guided_by_two(neither, source, both, source_scale=1.0, text_scale=4.0), guided(both, source, 4.0)
    )
