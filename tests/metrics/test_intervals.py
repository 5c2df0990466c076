"""Wilson's intervals against a published table and against the equation that they solve."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.metrics.intervals import wilson_share


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_table_of_newcombe_1998(right: int, total: int, low: float, high: float) -> None:
    """Newcombe 1998, Two-sided confidence intervals for the single proportion, Table I, method 3."""
    found = wilson_share(right, total)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert (found.right, found.total, found.share) == (right, total, right / total)


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_ends_lie_as_many_deviations_away_as_they_should(trial: tuple[int, int]) -> None:
    found = wilson_share(*trial)
    assert 0 <= found.low <= found.share <= found.high <= 1
    for end in (found.low, found.high):
        if 0 < end < 1:
            deviation = math.sqrt(end * (1 - end) / found.total)
            assert abs(found.share - end) / deviation == pytest.approx(1.95996, abs=1e-4)
    mirrored = wilson_share(found.total - found.right, found.total)
    assert mirrored.low == pytest.approx(1 - found.high) and mirrored.high == pytest.approx(1 - found.low)


@pytest.mark.parametrize(("right", "total"), [(0, 0), (2, 1), (-1, 4)])
def test_what_is_no_share_is_refused(right: int, total: int) -> None:
    with pytest.raises(ValueError, match="trial"):
        wilson_share(right, total)
