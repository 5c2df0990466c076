"""Two objectives that say the same: identities, W.A.L.T's table, and Gaussian data, where all is known in closed form.

What a perfect model would say is computed for each objective by itself, by regression on what it would see.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.diffusion.flow import interpolate, sample_times, time_grid
from soracli.diffusion.objective import (
    level_from_step,
    noised,
    predicted_data,
    predicted_velocity,
    prediction_target,
    sampling_times,
    seen_on_path,
    training_times,
)
from soracli.diffusion.options import ObjectiveName
from soracli.diffusion.samplers import SAMPLERS

MEAN, DEVIATION = 0.7, 0.4
BOTH: tuple[ObjectiveName, ...] = ("flow", "v")
objectives = st.sampled_from(BOTH)
levels = st.floats(0, 1)


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    data, noise = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return data, noise


@given(objective=objectives, t=levels)
def test_a_right_prediction_gives_data_and_velocity(objective: ObjectiveName, t: float) -> None:
    data, noise = pair()
    seen, target = noised(objective, data, noise, t), prediction_target(objective, data, noise, t)
    torch.testing.assert_close(predicted_data(objective, seen, target, t), data)
    torch.testing.assert_close(predicted_velocity(objective, seen, target, t), noise - data)
    torch.testing.assert_close(seen_on_path(objective, interpolate(data, noise, t), t), seen)


@given(objective=objectives, t=levels, seed=st.integers(0, 99))
def test_any_prediction_says_one_thing(objective: ObjectiveName, t: float, seed: int) -> None:
    """Wrong ones too: data and velocity of the same prediction lie on one line through the point."""
    x, prediction = pair(seed)
    seen = seen_on_path(objective, x, t)
    data = predicted_data(objective, seen, prediction, t)
    torch.testing.assert_close(data, x - t * predicted_velocity(objective, seen, prediction, t))


@given(t=levels)
def test_v_is_that_of_its_paper(t: float) -> None:
    """``v = alpha noise - sigma data`` with ``alpha^2 + sigma^2 = 1`` and ``x = alpha v-data - sigma v``, by angle."""
    data, noise = pair()
    angle = math.atan2(t, 1 - t)
    alpha, sigma = math.cos(angle), math.sin(angle)
    seen, target = noised("v", data, noise, t), prediction_target("v", data, noise, t)
    torch.testing.assert_close(seen, alpha * data + sigma * noise)
    torch.testing.assert_close(target, alpha * noise - sigma * data)
    torch.testing.assert_close(predicted_data("v", seen, target, t), alpha * seen - sigma * target)


@pytest.mark.parametrize("objective", BOTH)
def test_the_ends_are_data_and_noise(objective: ObjectiveName) -> None:
    data, noise = pair()
    assert torch.equal(noised(objective, data, noise, 0.0), data)
    assert torch.equal(noised(objective, data, noise, 1.0), noise)


@pytest.mark.parametrize("objective", BOTH)
def test_every_token_has_its_own_level(objective: ObjectiveName) -> None:
    data, noise = pair()
    t = torch.tensor([[0.0], [0.2], [0.5], [0.9], [1.0]], dtype=torch.float64)
    seen, target = noised(objective, data, noise, t), prediction_target(objective, data, noise, t)
    for row, level in enumerate(t[:, 0].tolist()):
        torch.testing.assert_close(seen[row], noised(objective, data[row], noise[row], level))
        torch.testing.assert_close(target[row], prediction_target(objective, data[row], noise[row], level))
    torch.testing.assert_close(predicted_data(objective, seen, target, t), data)
    torch.testing.assert_close(predicted_velocity(objective, seen, target, t), noise - data)


def test_flow_is_what_it_was() -> None:
    """Runs and models from before there was another: to the bit."""
    data, noise = (part.float() for part in pair())
    t = torch.tensor(0.3)
    assert torch.equal(noised("flow", data, noise, t), (1 - t) * data + t * noise)
    assert torch.equal(prediction_target("flow", data, noise, t), noise - data)
    assert predicted_velocity("flow", data, noise, 0.3) is noise and seen_on_path("flow", data, 0.3) is data
    assert torch.equal(sampling_times("flow", 7, 2.0), time_grid(7, 2.0))
    one, other = (torch.Generator().manual_seed(3) for _ in range(2))
    assert torch.equal(training_times("flow", 9, one, 2.0), sample_times(9, other, 2.0))


def walt_levels() -> torch.Tensor:
    """Levels after each of 1000 steps by Lin et al.'s algorithm 1, as it is listed there."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    root = (1 - betas).cumprod(0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    root = (root - last) * first / (first - last)
    sigma = (1 - root**2).sqrt()
    return sigma / (root + sigma)


def test_the_schedule_is_walts() -> None:
    table = walt_levels()
    found = level_from_step(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    assert float((found - table).abs().max()) < 0.0012
    assert float(table[-1]) == 1 == float(found[-1])
    # Without the rescaling something of the data is left at the end, more than can be told from the tolerance.
    assert float(1 - found[-11]) > 0.0005


def test_the_schedule_runs_from_data_to_noise() -> None:
    steps = level_from_step(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert float(steps[0]) == 0 and float(steps[-1]) == 1 and bool((steps.diff() > 0).all())


@given(steps=st.integers(1, 100), shift=st.floats(0.05, 20))
def test_the_grid_runs_from_noise_to_data(steps: int, shift: float) -> None:
    grid = sampling_times("v", steps, shift)
    assert grid.shape == (steps + 1,) and grid.dtype == torch.float64
    assert float(grid[0]) == pytest.approx(1, abs=1e-12) and float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())


@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_times_are_even_over_the_schedule(shift: float) -> None:
    """A shift multiplies noise over data: taken back, half of the times are below the level of half the steps."""
    times = training_times("v", 20_000, torch.Generator().manual_seed(0), shift)
    assert times.dtype == torch.float32 and bool(((times > 0) & (times <= 1)).all())
    ratio = times.double() / (1 - times.double()) / shift
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        level = float(level_from_step(torch.tensor(share, dtype=torch.float64)))
        assert float((ratio < level / (1 - level)).double().mean()) == pytest.approx(share, abs=0.015)


def perfect(objective: ObjectiveName, seen: torch.Tensor, t: float) -> torch.Tensor:
    """E[target | seen] for data of N(MEAN, DEVIATION^2): both are Gaussian, so it is the regression line."""
    if objective == "flow":
        (a, s), (c, d) = (1 - t, t), (1.0, 1.0)
    else:
        angle = math.atan2(t, 1 - t)
        a = c = math.cos(angle)
        s = d = math.sin(angle)
    slope = (s * c - a * d * DEVIATION**2) / (a**2 * DEVIATION**2 + s**2)
    return -d * MEAN + slope * (seen - a * MEAN)


@given(t=levels, x=st.floats(-3, 3))
def test_perfect_models_of_both_agree(t: float, x: float) -> None:
    """The same velocity and the same data at the same point of the path, from what each says by itself."""
    point = torch.tensor(x, dtype=torch.float64)
    said = []
    for objective in BOTH:
        seen = seen_on_path(objective, point, t)
        prediction = perfect(objective, seen, t)
        said.append(
            (predicted_velocity(objective, seen, prediction, t), predicted_data(objective, seen, prediction, t))
        )
    torch.testing.assert_close(said[0], said[1])
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2  # E[data | x] of two Gaussians
    data = MEAN + (1 - t) * DEVIATION**2 / variance * (x - (1 - t) * MEAN)
    assert float(said[1][1]) == pytest.approx(data, abs=1e-9)


@pytest.mark.parametrize("objective", BOTH)
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_samplers_reach_gaussian_data(objective: ObjectiveName, sampler: str) -> None:
    """Every sampler with every objective, at its own times: each noise goes to its quantile of the data.

    The last step of ``v``'s times is long, and Euler's for all; it decides.
    """
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        seen = seen_on_path(objective, x, t)
        return predicted_velocity(objective, seen, perfect(objective, seen, t), t)

    found = SAMPLERS[sampler](velocity, noise, sampling_times(objective, 400))  # type: ignore[index]
    torch.testing.assert_close(found, MEAN + DEVIATION * noise, rtol=0, atol=0.01 if sampler == "euler" else 1e-3)


def test_euler_is_ddim() -> None:
    """DDIM as W.A.L.T samples, in alpha and sigma, against Euler on the straight path: the same points at any step."""
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    x, grid = noise, sampling_times("v", 10)
    for now, then in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        alpha, sigma = math.cos(math.atan2(now, 1 - now)), math.sin(math.atan2(now, 1 - now))
        v = perfect("v", x, now)
        data, eps = alpha * x - sigma * v, sigma * x + alpha * v
        x = math.cos(math.atan2(then, 1 - then)) * data + math.sin(math.atan2(then, 1 - then)) * eps

    def velocity(y: torch.Tensor, t: float) -> torch.Tensor:
        seen = seen_on_path("v", y, t)
        return predicted_velocity("v", seen, perfect("v", seen, t), t)

    torch.testing.assert_close(SAMPLERS["euler"](velocity, noise, grid), x, rtol=0, atol=1e-12)
