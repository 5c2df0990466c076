"""Seams in made-up steps: against ratios known by hand, and what must hold of all of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.metrics.seams import AROUND, FLOOR, frame_step, seam_ratio

STEPS = st.lists(st.floats(0, 255), min_size=2, max_size=60)


def test_a_jump_is_told_by_how_much_it_is_larger() -> None:
    steps = [4.0] * 30
    assert seam_ratio(steps, 15) == 1
    steps[15] = 10.0
    assert seam_ratio(steps, 15) == 2.5
    steps[14] = 200.0  # one other large step is no habit
    assert seam_ratio(steps, 15) == 2.5


def test_only_ten_steps_on_either_side_count() -> None:
    steps = [100.0] * 60
    steps[20:41] = [2.0] * 21
    assert seam_ratio(steps, 30) == 1
    steps[30 - AROUND : 30] = [8.0] * AROUND
    steps[30] = 10
    assert seam_ratio(steps, 30) == 2  # half of them are 2, half 8
    assert seam_ratio(steps[30:], 0) == 5  # at the beginning those after it alone


def test_a_picture_at_rest_has_a_floor() -> None:
    steps = [0.0] * 21
    steps[10] = 0.9
    assert seam_ratio(steps, 10) == pytest.approx(0.9 / FLOOR)
    steps[10] = 3.0
    assert seam_ratio(steps, 10) == 3


def test_a_loop_goes_on_at_its_beginning() -> None:
    steps = [2.0] * 12 + [50.0] * 12 + [2.0] * 12
    steps[-1] = 6.0
    assert seam_ratio(steps, 35, is_loop=True) == 3
    steps[:12] = [3.0] * 12
    assert seam_ratio(steps, 35, is_loop=True) == 6 / 2.5  # half of those around are 3, half 2
    assert seam_ratio(steps, 35) == 3
    assert seam_ratio([2.0, 5.0, 2.0, 4.0], 1, is_loop=True) == 2.5  # shorter than what would count: each step once


def test_other_seams_are_no_habit() -> None:
    steps = [1.0, 9.0, 2.0, 9.0, 9.0]
    assert seam_ratio(steps, 1) == 9 / 5.5
    assert seam_ratio(steps, 1, other_seams=[1, 3, 4]) == 9 / 1.5


@given(steps=STEPS, data=st.data(), is_loop=st.booleans())
def test_what_holds_for_all(steps: list[float], data: st.DataObject, is_loop: bool) -> None:
    place = data.draw(st.integers(0, len(steps) - 1))
    ratio = seam_ratio(steps, place, is_loop=is_loop)
    assert 0 <= ratio <= steps[place] / FLOOR
    larger = [*steps[:place], steps[place] + 1, *steps[place + 1 :]]
    assert seam_ratio(larger, place, is_loop=is_loop) > ratio
    assert seam_ratio(steps[::-1], len(steps) - 1 - place, is_loop=is_loop) == ratio
    turned = steps[place:] + steps[:place]
    assert not is_loop or seam_ratio(turned, 0, is_loop=True) == ratio


def test_steps_are_mean_differences() -> None:
    one, other = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    other[:2] = 200
    assert frame_step(one, other) == frame_step(other, one) == 100


def test_what_is_no_seam_is_refused() -> None:
    with pytest.raises(ValueError, match="no step 3 among 3"):
        seam_ratio([1.0, 2.0, 3.0], 3)
    with pytest.raises(ValueError, match="no step beside the seam"):
        seam_ratio([1.0], 0)
    with pytest.raises(ValueError, match="of one size"):
        frame_step(torch.zeros(4, 4, 3, dtype=torch.uint8), torch.zeros(4, 5, 3, dtype=torch.uint8))
