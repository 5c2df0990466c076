"""Curves: means and scatter against noise of known size, and verdicts on runs whose story is known."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.metrics.curves import (
    LEAST_TOLERANCE,
    MOST_POINTS,
    SIGMAS,
    Comparison,
    Curve,
    Value,
    compare_curves,
    thin_curve,
)

LENGTH = 2000


def _learning(
    seed: int, *, every: int = 10, noise: float = 0.03, speed: float = 1.0, until: int = LENGTH, better: int = -1
) -> list[Value]:
    """A loss that falls from 1.1 towards 0.1 within some hundred steps, or a figure that rises alike."""
    draw = random.Random(seed)
    return [
        (step, -better * (0.1 + math.exp(-step * speed / 400) + draw.gauss(0, noise)))
        for step in range(every, until + 1, every)
    ]


def _compare(reference: list[Value], values: list[Value], direction: int = -1) -> Comparison:
    return compare_curves(thin_curve(reference), values, direction)


@given(
    steps=st.lists(st.integers(1, 10**6), min_size=1, max_size=300, unique=True).map(sorted),
    seed=st.integers(0, 1000),
    most=st.integers(1, MOST_POINTS),
)
def test_thinning_keeps_the_mean_and_the_order(steps: list[int], seed: int, most: int) -> None:
    draw = random.Random(seed)
    values = [(step, draw.gauss(0, 1)) for step in steps]
    curve = thin_curve(values, most)
    assert len(curve.steps) <= most and sum(curve.counts) == len(values)
    assert all(a < b for a, b in pairwise(curve.steps)) and curve.steps[-1] == steps[-1]
    total = sum(value * count for value, count in zip(curve.values, curve.counts, strict=True))
    assert total == pytest.approx(sum(value for _, value in values), abs=1e-6)
    assert {len(curve.values), len(curve.scatter)} == {len(curve.steps)} and min(curve.scatter) >= 0


def test_scatter_is_that_of_the_noise_and_a_slope_has_none() -> None:
    slope = [(10 * n, 3.0 * n) for n in range(1, 300)]
    assert max(thin_curve(slope).scatter) < 1e-9
    draw = random.Random(0)
    found = thin_curve([(step, value + draw.gauss(0, 0.5)) for step, value in slope]).scatter
    assert sum(found) / len(found) == pytest.approx(0.5, rel=0.1)
    uneven = sorted(random.Random(1).sample(range(1, 100_000), 400))
    assert max(thin_curve([(step, step / 1000) for step in uneven]).scatter) < 1e-9
    found = thin_curve([(step, step / 1000 + draw.gauss(0, 0.5)) for step in uneven]).scatter
    assert sum(found) / len(found) == pytest.approx(0.5, rel=0.1)


def test_what_is_not_finite_is_left_out_of_a_reference() -> None:
    values = [(1, 1.0), (2, math.nan), (3, 3.0), (4, math.inf)]
    assert thin_curve(values) == thin_curve([(1, 1.0), (3, 3.0)])
    with pytest.raises(ValueError, match="finite"):
        thin_curve(values[1:2])


def test_another_seed_is_on_track() -> None:
    """Of 60 runs that differ by noise alone, hardly one may be called anything else, whatever they log how often."""
    for every, noise in ((10, 0.03), (100, 0.01), (10, 0.2)):
        found = [
            _compare(_learning(1000 + seed, every=every, noise=noise), _learning(seed, every=every, noise=noise))
            for seed in range(60)
        ]
        assert sum(one.state == "on track" for one in found) >= 56
        assert {one.step for one in found} == {LENGTH}
        outside = sum(one.outside for one in found) / sum(one.stretches for one in found)
        assert outside < 0.03
    assert _compare(_learning(0, every=10), _learning(1, every=7)).state == "on track"


def test_the_same_run_is_nowhere_apart() -> None:
    run = _learning(3)
    found = _compare(run, run)
    assert (found.state, found.outside, found.run) == ("on track", 0, found.reference)
    assert found.stretches == len(found.course) == MOST_POINTS


@pytest.mark.parametrize("better", [-1, 1])
def test_a_run_at_half_speed_is_behind_by_half_its_steps(better: int) -> None:
    lags = []
    for seed in range(20):
        slow = _learning(seed, speed=0.5, until=800, better=better)
        found = _compare(_learning(100 + seed, better=better), slow, better)
        assert found.state == "behind" and found.step == 800
        lags.append(found.steps_behind)
        fast = _compare(slow, _learning(100 + seed, better=better), better)
        assert fast.state == "ahead" and fast.steps_behind == 0 and fast.step == 800
    assert sum(lags) / len(lags) == pytest.approx(400, abs=30)


def test_one_lucky_stretch_of_the_reference_is_not_where_it_was() -> None:
    """Its value at step 300 is an accident between 0.8 and 0.6; it was at 0.35 between steps 600 and 700 for good."""
    values = (1.0, 0.8, 0.3, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
    reference = Curve(steps=tuple(range(100, 1001, 100)), values=values, counts=(1,) * 10, scatter=(0.01,) * 10)
    found = compare_curves(reference, [(step, 0.35) for step in range(100, 1001, 100)], -1)
    assert found.state == "behind" and 300 <= found.steps_behind <= 400


def test_a_run_that_never_learnt_is_behind_by_all_its_steps() -> None:
    flat = [(step, 1.2 + random.Random(step).gauss(0, 0.03)) for step in range(10, 801, 10)]
    found = _compare(_learning(0), flat)
    assert (found.state, found.steps_behind) == ("behind", 800)


def test_what_was_learnt_and_lost_again_has_diverged() -> None:
    run = [(step, value if step <= 600 else value + (step - 600) / 300) for step, value in _learning(1, until=1000)]
    assert _compare(_learning(0), run[:60]).state == "on track"
    assert _compare(_learning(0), run[:72]).state == "behind"
    assert _compare(_learning(0), run).state == "diverged"


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_last_value_that_is_not_finite_has_diverged(broken: float) -> None:
    run = _learning(1, until=800)
    found = _compare(_learning(0), [*run, (810, broken)])
    assert found.state == "diverged" and not found.finite and found.run is not None
    assert _compare(_learning(0), [(10, broken)]).state == "diverged"
    skipped = [(step, broken if step == 400 else value) for step, value in run]
    found = _compare(_learning(0), skipped)
    assert found.state == "on track" and found.finite and all(map(math.isfinite, found.course))


def test_tolerance_is_three_standard_errors_and_at_least_its_floor() -> None:
    reference = thin_curve(_learning(0, noise=0.2))
    run = _learning(1, noise=0.2)
    found = compare_curves(reference, run, -1)
    scatter = math.sqrt(sum(value**2 for value in reference.scatter[-10:]) / 10)
    assert found.tolerance == pytest.approx(SIGMAS * scatter * math.sqrt(1 / 20 + 1 / 20))
    assert found.run == pytest.approx(sum(value for _, value in run[-20:]) / 20)
    quiet = thin_curve([(step, step / 100) for step in range(1, 101)])
    steady = [(step, step / 100 + 0.02) for step in range(1, 101)]
    assert compare_curves(quiet, steady, 1).tolerance == pytest.approx(LEAST_TOLERANCE * 0.99)


def test_too_early_and_without_direction() -> None:
    reference = _learning(0, every=100)
    for values in ([], [(50, 1.0)]):
        found = _compare(reference, values)
        assert found.state == "too early" and found.run is None and found.stretches == 0
    without = _compare(reference, _learning(1, every=100, speed=0.3), 0)
    assert without.state is None and without.outside > 0 and without.steps_behind == 0
    assert _compare(reference, [(50, math.nan)], 0).state is None


def test_steps_beyond_the_references_end_are_left_out() -> None:
    longer = [*_learning(1), *((step, 5.0) for step in range(LENGTH + 10, 2 * LENGTH, 10))]
    found = _compare(_learning(0), longer)
    assert found.state == "on track" and found.step == LENGTH


def test_a_stretch_counts_when_it_is_over() -> None:
    reference = thin_curve([(step, 0.0) for step in range(1, 401)])  # stretches of 4 steps
    run = [(1, 0.0), (2, 0.0), (3, 0.0), (4, 0.0), (5, 9.0)]
    found = compare_curves(reference, run, -1)
    assert (found.step, found.stretches, found.run) == (4, 1, 0.0)
