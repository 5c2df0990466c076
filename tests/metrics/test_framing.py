"""Framing of painted squares that are known, and what must hold wherever they stand."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from soracli.metrics.framing import ShownObjects, frame_objects, places, whole_objects
from soracli.metrics.obedience import ObjectWords
from soracli.metrics.tracks import track_objects

RED, BLUE = ObjectWords("red", "ball"), ObjectWords("blue", "cube")
HEIGHT, WIDTH = 16, 28


Way = Sequence[tuple[int, int, int] | None]


def paint(*objects: Way, frames: int = 4) -> Tensor:
    """Boxes: each (top, left, side) for every frame, or None where it is unseen."""
    member = torch.zeros(frames, len(objects), HEIGHT, WIDTH, dtype=torch.bool)
    for number, way in enumerate(objects):
        for frame, box in enumerate(way):
            if box is not None:
                top, left, side = box
                member[frame, number, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = True
    return member


def show(member: Tensor, *words: ObjectWords, depth: Tensor | None = None) -> ShownObjects:
    return ShownObjects(words, member, torch.zeros(member.shape[:2]) if depth is None else depth)


@given(top=st.integers(-3, HEIGHT), left=st.integers(-3, WIDTH), side=st.integers(1, 6))
def test_whole_is_inside_the_border(top: int, left: int, side: int) -> None:
    whole = whole_objects(paint([(top, left, side)], frames=1))
    inside = top >= 1 and left >= 1 and top + side <= HEIGHT - 1 and left + side <= WIDTH - 1
    assert whole.tolist() == [[inside]]


def test_a_wider_border_cuts_more_and_one_that_leaves_nothing_is_refused() -> None:
    member = paint([(2, 2, 3)], frames=1)
    assert [bool(whole_objects(member, margin)) for margin in (1, 2, 3)] == [True, True, False]
    for margin in (0, HEIGHT // 2):
        with pytest.raises(ValueError, match="leaves nothing"):
            whole_objects(member, margin)


def test_places_are_in_half_shorter_sides() -> None:
    member = paint([(6, 12, 4)], [(0, 0, 2)], [None], frames=1)
    found = places(member)[0]
    assert found[0].tolist() == [0.0, 0.0]
    assert found[1].tolist() == pytest.approx([(1 - 14) / 8, (1 - 8) / 8])
    assert found[2].isnan().all()


def test_shares_of_frames() -> None:
    """One moves out on the right: whole in two of four frames, seen in three; the middle of those counts."""
    way: Way = [(6, 12, 4), (6, 20, 4), (6, 26, 4), None]
    found = frame_objects([RED, BLUE], [], show(paint(way), RED))
    red, blue = found.objects
    assert (red.found, red.seen, red.whole) == (True, 0.75, 0.5)
    assert red.off_centre == pytest.approx((0 + 1 + 13 / 8) / 3)
    assert (blue.found, blue.seen, blue.whole, blue.off_centre) == (False, 0.0, 0.0, None)


def test_another_colour_is_not_found_and_one_object_serves_once() -> None:
    member = paint([(6, 12, 4)] * 4)
    assert not frame_objects([RED], [], show(member, ObjectWords("red", "cube"))).objects[0].found
    assert [item.found for item in frame_objects([RED, RED], [], show(member, RED)).objects] == [True, False]


@given(
    one=st.tuples(st.integers(0, 20), st.floats(1, 9)),
    two=st.tuples(st.integers(0, 20), st.floats(1, 9)),
)
def test_relations_are_those_of_the_picture(one: tuple[int, float], two: tuple[int, float]) -> None:
    member = paint([(4, one[0], 3)] * 4, [(9, two[0], 3)] * 4)
    depth = torch.tensor([[one[1], two[1]]], dtype=torch.float64).expand(4, -1)
    words = ("left", "right", "in front", "behind")
    found = frame_objects([RED, BLUE], [(0, word, 1) for word in words], show(member, RED, BLUE, depth=depth))
    assert found.relations == (one[0] < two[0], one[0] > two[0], one[1] < two[1], one[1] > two[1])
    turned = frame_objects([RED, BLUE], [(1, word, 0) for word in words], show(member, RED, BLUE, depth=depth))
    assert turned.relations == (found.relations[1], found.relations[0], found.relations[3], found.relations[2])


def test_the_first_frame_that_shows_both_decides() -> None:
    passing: Way = [None, (4, 2, 3), (4, 20, 3), (4, 20, 3)]
    found = frame_objects([RED, BLUE], [(0, "left", 1)], show(paint(passing, [(9, 10, 3)] * 4), RED, BLUE))
    assert found.relations == (True,)
    never: Way = [(4, 2, 3), None, None, None]
    apart = show(paint(never, [None, *[(9, 10, 3)] * 3]), RED, BLUE)
    assert frame_objects([RED, BLUE], [(0, "left", 1)], apart).relations == (False,)
    assert frame_objects([RED, BLUE], [(0, "left", 1)], show(paint(passing), RED)).relations == (False,)


@pytest.mark.parametrize("upright", [False, True])
def test_tracks_reach_the_ends_of_a_wide_frame(upright: bool) -> None:
    """Two of one colour whose middles are 1.9 and 2.3 half sides from the frame's, beyond those of any square."""
    height, width = 64, 160
    there, colour = torch.zeros(5, height, width), torch.full((5, 2, height, width), 0.5)
    centre = torch.zeros(5, 2, height, width)
    for left, right in ((137, 145), (150, 158)):
        there[:, 28:36, left:right] = 0.9
        colour[:, 0, 28:36, left:right] = 0.9
        centre[:, 0, 28:36, left:right] = ((left + right) / 2 - width / 2) / 32
    if upright:
        there, colour, centre = there.mT, colour.mT, centre.mT.flip(1)
    member, colours = track_objects(there, colour, centre)
    assert colours == [0, 0]
    assert member.sum((2, 3)).eq(64).all()
