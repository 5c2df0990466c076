"""Distances between sets: against closed forms of Gaussians, a loop over pairs, and what must hold for all inputs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from soracli.metrics.frechet import (
    frechet_distance,
    frechet_floor,
    gaussian_frechet_distance,
    interleaved_distance,
    kernel_distance,
    project,
)


def _normal(seed: int, count: int, width: int) -> Tensor:
    return torch.randn((count, width), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_diagonal_gaussians_have_the_sum_over_axes() -> None:
    """In one dimension the squared distance is (m1 - m2)^2 + (s1 - s2)^2; turning both changes nothing."""
    mean_a, mean_b = torch.tensor([[0.0, 1.0, -2.0], [0.5, 1.0, 1.0]], dtype=torch.float64)
    std_a, std_b = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.5, 0.7]], dtype=torch.float64)
    expected = float((mean_a - mean_b).square().sum() + (std_a - std_b).square().sum())
    turn = torch.linalg.qr(_normal(0, 3, 3)).Q
    for q in (torch.eye(3, dtype=torch.float64), turn):
        covariances = [q @ torch.diag(std**2) @ q.T for std in (std_a, std_b)]
        found = gaussian_frechet_distance(q @ mean_a, covariances[0], q @ mean_b, covariances[1])
        assert found == pytest.approx(expected, abs=1e-9)


def test_general_gaussians_against_the_matrix_root() -> None:
    """Trace of (S1 S2)^(1/2) from the eigenvalues of the product itself, which another algorithm finds."""
    a, b = (_normal(seed, 40, 6) @ _normal(seed + 5, 6, 6) for seed in (1, 2))
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    roots = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * roots
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-5, 5))
def test_a_shift_costs_its_square(seed: int, shift: float) -> None:
    features = _normal(seed, 30, 4)
    assert frechet_distance(features + shift, features) == pytest.approx(4 * shift**2, abs=1e-6)
    other = _normal(seed + 1, 20, 4)
    assert frechet_distance(features, other) == pytest.approx(frechet_distance(other, features), abs=1e-9)


def test_the_floor_falls_with_more_samples_and_lies_below_another_set() -> None:
    real = _normal(3, 4000, 8)
    floors = [frechet_floor(real, count) for count in (50, 500, 2000)]
    assert floors[0] > floors[1] > floors[2] > 0
    assert frechet_distance(_normal(4, 500, 8) * 1.3, real[:500]) > 2 * floors[1]
    assert frechet_floor(real, 50) == floors[0]
    with pytest.raises(ValueError, match="needs 4002 real"):
        frechet_floor(real, 2001)


def test_kernel_distance_equals_the_loop_over_pairs() -> None:
    x, y = _normal(5, 6, 3), _normal(6, 5, 3) + 0.5

    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / 3 + 1) ** 3

    within = [
        sum(kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    across = sum(kernel(a, b) for a in x for b in y) / 30
    assert kernel_distance(x, y) == pytest.approx(sum(within) - 2 * across, rel=1e-9)


def test_kernel_distance_of_equal_distributions_is_about_nothing() -> None:
    values = [kernel_distance(_normal(2 * k, 60, 4), _normal(2 * k + 1, 60, 4)) for k in range(40)]
    spread = torch.tensor(values).std().item() / math.sqrt(40)
    assert abs(sum(values) / 40) < 4 * spread
    assert kernel_distance(_normal(0, 60, 4) + 1, _normal(1, 60, 4)) > 10 * max(map(abs, values))


def test_projection_keeps_distances_along_the_leading_directions() -> None:
    scale = torch.tensor([5.0, 3.0, 1e-6, 1e-6], dtype=torch.float64)
    a, b = _normal(7, 50, 4) * scale, _normal(8, 50, 4) * scale + 1
    small_a, small_b = project(a, b, dimensions=2)
    assert small_a.shape == small_b.shape == (50, 2)
    assert small_a.mean(0).abs().max() < 1e-9
    assert torch.pdist(small_a).allclose(torch.pdist(a), atol=1e-4)
    assert project(a[:3], dimensions=64)[0].shape == (3, 2)


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5,))])
def test_sets_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError):
            distance(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_interleaved_halves_against_halves_cut_by_hand() -> None:
    real, made = _normal(7, 40, 4), _normal(8, 40, 4) + 1
    even, odd = [0, 2, 4], [1, 3, 5]
    for number in range(3, 20):
        even.append(2 * number)
        odd.append(2 * number + 1)
    expected = (frechet_distance(made[even], real[odd]) + frechet_distance(made[odd], real[even])) / 2
    assert interleaved_distance(made, real) == pytest.approx(expected)
    floor = interleaved_distance(real, real)
    assert floor == pytest.approx(frechet_distance(real[even], real[odd])) and floor < expected
    with pytest.raises(ValueError, match="as many copies"):
        interleaved_distance(made[:-1], real)


def test_neighbours_in_time_have_a_low_floor() -> None:
    """Rows that come in like pairs, as frames do: halves of pairs are nearer than halves of anything."""
    scenes = _normal(9, 30, 4)
    frames = scenes.repeat_interleave(2, 0) + 0.05 * _normal(10, 60, 4)
    assert interleaved_distance(frames, frames) < 0.1 * frechet_floor(frames, 30)
