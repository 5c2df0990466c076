"""What few steps are taught, against the exact flow from noise to a Gaussian, and the sampler's own grid."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from soracli.diffusion.few_steps import (
    Step,
    at_level,
    draw_level,
    draw_scale,
    draw_step,
    half_way,
    mean_velocity,
    step_at,
)
from soracli.diffusion.objective import (
    noised,
    point_on_path,
    predicted_velocity,
    prediction_of,
    prediction_target,
    sampling_times,
    seen_on_path,
)
from soracli.diffusion.samplers import sample_euler

MEAN, DEVIATION = 0.7, 0.4
objectives = st.sampled_from(["flow", "v"])
powers = st.integers(0, 5).map(lambda power: 2**power)
shifts = st.sampled_from([0.5, 1.0, 2.0, 3.3])


def flow(x: Tensor, t: float, then: float) -> Tensor:
    """Where the flow from noise to ``N(MEAN, DEVIATION^2)`` takes a point: its quantile stays the same."""
    before, after = (math.hypot((1 - level) * DEVIATION, level) for level in (t, then))
    return (1 - then) * MEAN + after / before * (x - (1 - t) * MEAN)


def mean_of_flow(x: Tensor, t: float, then: float) -> Tensor:
    return (x - flow(x, t, then)) / (t - then)


def velocity(x: Tensor, t: float) -> Tensor:
    """Of the flow at one level: the slope of its quantiles."""
    radius = math.hypot((1 - t) * DEVIATION, t)
    slope = (t - (1 - t) * DEVIATION**2) / radius
    return -MEAN + slope / radius * (x - (1 - t) * MEAN)


def points(seed: int = 0) -> Tensor:
    return torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(objective=objectives, num_steps=powers, shift=shifts)
def test_steps_are_those_of_the_sampler(objective, num_steps, shift):
    times, fine = (sampling_times(objective, count, shift).tolist() for count in (num_steps, 2 * num_steps))
    steps = [step_at(objective, num_steps, number, shift) for number in range(num_steps)]
    assert [step.start for step in steps] == times[:-1] and [step.end for step in steps] == times[1:]
    assert [step.middle for step in steps] == fine[1::2]
    assert sum(step.size for step in steps) == 1


@given(objective=objectives, num_steps=powers, shift=shifts, seed=st.integers(0, 99))
def test_two_halves_are_the_whole(objective, num_steps, shift, seed):
    """Taught by two exact halves, a step is exact; so the sampler of that many steps ends where the flow does."""
    worst = 0.0
    targets: dict[float, Tensor] = {}
    x = points(seed)

    def taught(x: Tensor, t: float) -> Tensor:
        step = next(step for step in steps if step.start == t)
        seen = seen_on_path(objective, x, t)
        first = mean_of_flow(x, step.start, step.middle)
        middle = half_way(objective, seen, first, step)
        x_middle = point_on_path(objective, middle, step.middle)
        found = mean_velocity(first, mean_of_flow(x_middle, step.middle, step.end), step)
        target = prediction_of(objective, seen, found, t)
        targets[t] = predicted_velocity(objective, seen, target, t)
        nonlocal worst
        worst = max(worst, float((targets[t] - mean_of_flow(x, step.start, step.end)).abs().max()))
        return targets[t]

    steps = [step_at(objective, num_steps, number, shift) for number in range(num_steps)]
    ended = sample_euler(taught, x, sampling_times(objective, num_steps, shift))
    assert worst < 1e-11
    torch.testing.assert_close(ended, MEAN + DEVIATION * points(seed), rtol=0, atol=1e-11)


def test_from_the_velocity_up() -> None:
    """Halves of halves of Euler's steps: what 1 step is taught then is what Euler's sampler does of so many."""
    finest, shift = 64, 2.0

    def taught(x: Tensor, step: Step) -> Tensor:
        if step.num_steps == finest:
            return velocity(x, step.start)
        number = round((1 - _share(step, shift)) * 2 * step.num_steps)
        first = taught(x, step_at("flow", 2 * step.num_steps, number, shift))
        second = taught(half_way("flow", x, first, step), step_at("flow", 2 * step.num_steps, number + 1, shift))
        return mean_velocity(first, second, step)

    whole = step_at("flow", 1, 0, shift)
    made = points() - taught(points(), whole)
    expected = sample_euler(velocity, points(), sampling_times("flow", finest, shift))
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    exact = MEAN + DEVIATION * points()
    assert 1e-4 < float((made - exact).abs().max()) < 0.05  # Euler's own error


def _share(step: Step, shift: float) -> float:
    return step.start / (shift - (shift - 1) * step.start)


@given(objective=objectives, t=st.floats(0.01, 1), then=st.floats(0, 1), seed=st.integers(0, 99))
def test_another_level_of_the_same_noise(objective, t, then, seed):
    data, noise = points(seed), points(seed + 1000)
    seen, target = (
        noised(objective, data, noise, t),
        prediction_target(objective, data, noise, torch.tensor(t, dtype=torch.float64)),
    )
    found = at_level(objective, seen, target, t, then)
    torch.testing.assert_close(found, noised(objective, data, noise, then), rtol=0, atol=1e-12)


@given(objective=objectives, t=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_velocity_said_and_read(objective, t, seed):
    seen, wanted = points(seed), points(seed + 1000)
    said = prediction_of(objective, seen, wanted, t)
    torch.testing.assert_close(predicted_velocity(objective, seen, said, t), wanted, rtol=0, atol=1e-12)
    back = seen_on_path(objective, point_on_path(objective, seen, t), t)
    torch.testing.assert_close(back, seen, rtol=0, atol=1e-12)


def test_what_is_drawn() -> None:
    """Every number of steps equally often, and each of its steps; scales evenly in their logarithm; levels as asked."""
    generator = torch.Generator().manual_seed(0)
    steps = [draw_step("flow", 8, 2.0, generator) for _ in range(4000)]
    for count in (1, 2, 4, 8):
        own = [step for step in steps if step.num_steps == count]
        assert len(own) / 4000 == pytest.approx(0.25, abs=0.03)
        starts = {step.start for step in own}
        assert starts == set(sampling_times("flow", count, 2.0).tolist()[:-1])
        assert min(sum(step.start == start for step in own) for start in starts) > 0.6 * len(own) / count
    scales = torch.tensor([draw_scale(9.0, generator) for _ in range(4000)])
    assert float(scales.min()) >= 1 and float(scales.max()) <= 9
    assert float((scales < 3).double().mean()) == pytest.approx(0.5, abs=0.03)
    levels = torch.tensor([draw_level("flow", 2.0, generator) for _ in range(4000)])
    for share in (0.25, 0.5, 0.75):
        level = 2 * share / (1 + share)
        assert float((levels < level).double().mean()) == pytest.approx(share, abs=0.03)
    assert float(levels.max()) <= 1 and draw_scale(1.0, generator) == 1
