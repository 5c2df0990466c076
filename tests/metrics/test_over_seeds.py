"""Differences over seeds against figures worked out by hand."""

import math

import pytest

from soracli.metrics.over_seeds import difference


def test_what_all_seeds_share_is_no_spread() -> None:
    found = difference([1.5, 2.5, 9.5], [1.0, 2.0, 9.0])
    assert found.mean == pytest.approx(0.5) and found.spread == pytest.approx(0)
    assert found.is_clear


def test_within_the_spread_nothing_is_clear() -> None:
    # Differences 3 and 1: mean 2, deviation sqrt(2); then 2 and -1: mean 0.5, deviation 3 / sqrt(2).
    assert difference([3.0, 1.0], [0.0, 0.0]).spread == pytest.approx(math.sqrt(2))
    assert difference([3.0, 1.0], [0.0, 0.0]).is_clear and difference([0.0, 0.0], [3.0, 1.0]).is_clear
    assert not difference([2.0, -1.0], [0.0, 0.0]).is_clear


def test_counting_has_a_spread_of_its_own() -> None:
    found = difference([0.5, 0.5], [0.25, 0.25], [10, 10])
    assert found.spread == pytest.approx(math.sqrt((0.25 + 0.1875) / 20))
    assert not difference([0.5, 0.5], [0.4, 0.4], [10, 10]).is_clear
    assert difference([0.5, 0.5], [0.4, 0.4], [1000, 1000]).is_clear


def test_one_seed_says_nothing() -> None:
    found = difference([9.0], [1.0])
    assert (found.mean, found.spread, found.is_clear) == (8.0, None, False)
    with pytest.raises(ValueError):
        difference([1.0], [1.0, 2.0])
