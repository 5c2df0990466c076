"""The straight path: its identities, its ends, and the distribution of the times that are trained at."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.diffusion.flow import (
    data_from_velocity,
    interpolate,
    sample_times,
    shift_times,
    time_grid,
    velocity_target,
)

levels = st.floats(0, 1)
shifts = st.floats(0.05, 20)


@given(t=levels)
def test_identities(t):
    data, noise = torch.randn(2, 3, 4, dtype=torch.float64).unbind(0)
    x = interpolate(data, noise, torch.tensor(t, dtype=torch.float64))
    velocity = velocity_target(data, noise)
    torch.testing.assert_close(data_from_velocity(x, velocity, t), data)
    torch.testing.assert_close(x + (1 - t) * velocity, noise)
    ahead = interpolate(data, noise, torch.tensor(t + 1e-3, dtype=torch.float64))
    torch.testing.assert_close((ahead - x) / 1e-3, velocity)


def test_the_ends_are_data_and_noise():
    data, noise = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(interpolate(data, noise, torch.tensor(0.0)), data)
    assert torch.equal(interpolate(data, noise, torch.tensor(1.0)), noise)


def test_each_sample_has_its_own_time():
    data, noise = torch.randn(2, 3), torch.randn(2, 3)
    mixed = interpolate(data, noise, torch.tensor([[0.0], [1.0]]))
    assert torch.equal(mixed, torch.stack([data[0], noise[1]]))


@given(shift=shifts, other=shifts, t=levels)
def test_shifts(shift, other, t):
    time = torch.tensor(t, dtype=torch.float64)
    moved = shift_times(time, shift)
    assert -1e-12 <= float(moved) <= 1 + 1e-12
    assert float(moved - time) * math.copysign(1, shift - 1) >= -1e-12  # towards noise if above 1
    torch.testing.assert_close(shift_times(moved, other), shift_times(time, shift * other))  # shifts multiply
    assert float(shift_times(time, 1.0)) == t


@given(steps=st.integers(1, 100), shift=shifts)
def test_the_grid_runs_from_noise_to_data(steps, shift):
    grid = time_grid(steps, shift)
    assert grid.shape == (steps + 1,) and grid.dtype == torch.float64
    assert float(grid[0]) == pytest.approx(1, abs=1e-12) and float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())


def test_an_even_grid():
    torch.testing.assert_close(time_grid(4), torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64))


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_times_are_logit_normal_before_the_shift(shift):
    """Their logits are a standard normal moved by the logarithm of the shift."""
    times = sample_times(20_000, torch.Generator().manual_seed(0), shift)
    assert bool(((times > 0) & (times < 1)).all())
    logits = torch.logit(times.double())
    assert float(logits.mean()) == pytest.approx(math.log(shift), abs=0.03)
    assert float(logits.std()) == pytest.approx(1, abs=0.03)
    assert float((logits - logits.mean()).pow(3).mean()) == pytest.approx(0, abs=0.1)


def test_times_are_those_of_the_generator():
    one, other = (sample_times(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
