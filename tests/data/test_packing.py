"""Packing: nothing lost, nothing twice, no sequence too long, as often as drawn; properties of any lengths."""

import random
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from soracli.core.errors import DataError
from soracli.data import packing
from soracli.data.packing import PLANNED_SEQUENCES, deal, first_fit_decreasing, level, make_plan, planned_steps

BUDGET = 100
lengths_to_draw = st.lists(st.integers(1, 130), min_size=1, max_size=12).filter(lambda sizes: min(sizes) <= BUDGET)


def work(length: int) -> float:
    return length + length**2 / 40


def plan_of(sizes: list[int], sequences: int = 4, seed: int = 0, budget: int = BUDGET) -> packing.Plan:
    return make_plan(lambda number: random.Random(f"{seed} {number}").choice(sizes), budget, sequences, work, seed)


@settings(max_examples=20, deadline=None)
@given(sizes=lengths_to_draw, sequences=st.integers(1, 150), seed=st.integers(0, 1000))
@example(sizes=[35, 69, 69, 36, 75, 32, 44], sequences=6, seed=1)  # levelling would leave a sequence empty
def test_a_plan_shows_what_was_drawn_once(sizes, sequences, seed):
    plan = plan_of(sizes, sequences, seed)
    assert len(plan.steps) == planned_steps(sequences)
    assert all(len(step) == sequences and all(step) for step in plan.steps)
    shown = [number for step in plan.steps for sequence in step for number in sequence]
    # Every number up to the last was drawn: it is shown once, or left out because it is too long.
    assert sorted([*shown, *plan.left_out]) == list(range(len(shown) + len(plan.left_out)))
    for number, length in {**plan.lengths, **plan.left_out}.items():
        assert length == random.Random(f"{seed} {number}").choice(sizes)
    assert set(plan.lengths) == set(shown) and all(length > BUDGET for length in plan.left_out.values())
    filled = [sum(plan.lengths[number] for number in sequence) for step in plan.steps for sequence in step]
    assert max(filled) <= BUDGET
    assert plan.padding == pytest.approx(1 - sum(filled) / (BUDGET * len(filled)))
    assert plan_of(sizes, sequences, seed) == plan


def test_plans_are_told_apart_by_their_seed():
    sizes = [5, 20, 40, 90]
    assert plan_of(sizes, seed=1).steps != plan_of(sizes, seed=2).steps


def test_long_and_short_are_shown_as_often_as_they_are_drawn():
    """A plan that stopped at the first sample without room would show long ones less: here 30 % of all are long."""
    counts = Counter(
        length
        for seed in range(100)
        for length in plan_of([60, 60, 60, 7, 7, 7, 7, 7, 7, 7], 128, seed).lengths.values()
    )
    assert counts[60] / counts.total() == pytest.approx(0.3, abs=0.012)


def test_nothing_that_fits_is_said():
    with pytest.raises(
        DataError, match=r"no sample fits samples\.max_tokens = 100: the shortest of 1000 drawn has 101"
    ):
        plan_of([130, 101])


@given(lengths=st.lists(st.integers(1, BUDGET), max_size=40))
def test_first_fit_decreasing(lengths):
    bins = first_fit_decreasing(lengths, BUDGET)
    assert sorted(place for part in bins for place in part) == list(range(len(lengths)))
    filled = [sum(lengths[place] for place in part) for part in bins]
    assert all(total <= BUDGET for total in filled)
    assert sum(2 * total <= BUDGET for total in filled) <= 1
    for number, part in enumerate(bins):  # whatever lies in a bin found no room in those before
        for place in part:
            for before in range(number):
                earlier = sum(
                    lengths[other] for other in bins[before] if (-lengths[other], other) < (-lengths[place], place)
                )
                assert earlier + lengths[place] > BUDGET


@given(lengths=st.lists(st.integers(1, BUDGET), max_size=40), count=st.integers(1, 12), share=st.floats(0, 1))
def test_levelled(lengths, count, share):
    costs = [work(length) for length in lengths]
    bins = level(lengths, costs, BUDGET, count, share)
    if bins is None:
        assert lengths and sum(lengths) + max(lengths) > BUDGET  # one bin alone would have taken less
        return
    assert len(bins) == count and sorted(place for part in bins for place in part) == list(range(len(lengths)))
    assert all(sum(lengths[place] for place in part) <= BUDGET for part in bins)
    if share == 1 and sum(lengths) <= BUDGET:  # no bin is ever full: the greedy rule's own bound
        loads = [sum(costs[place] for place in part) for part in bins]
        assert max(loads) - min(loads) <= max(costs, default=0) + 1e-9


@given(costs=st.lists(st.floats(0, 100), min_size=1, max_size=24), ranks=st.integers(1, 8))
def test_deal(costs, ranks):
    if len(costs) % ranks:
        with pytest.raises(ValueError, match="cannot be shared equally"):
            deal(costs, ranks)
        return
    dealt = deal(costs, ranks)
    assert sorted(place for part in dealt for place in part) == list(range(len(costs)))
    assert {len(part) for part in dealt} == {len(costs) // ranks}
    loads = [sum(costs[place] for place in part) for part in dealt]
    assert max(loads) - min(loads) <= max(costs) - min(costs) + 1e-6


def test_a_plan_is_long_enough():
    assert [planned_steps(sequences) for sequences in (1, 8, 100, 128, 500)] == [128, 16, 2, 1, 1]
    assert PLANNED_SEQUENCES == 128
