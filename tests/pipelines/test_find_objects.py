"""Objects in frames of any aspect: joined maps against the whole, wide and tall against square, true renders."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import soracli
from soracli.core.errors import DataError
from soracli.data.world.grammar import sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from soracli.models.judge import Judge
from soracli.models.judge_store import load_judge
from soracli.pipelines.evaluate_framing import true_objects
from soracli.pipelines.find_objects import find_objects, joined, square_starts
from soracli.pipelines.judge import judge_video
from soracli.pipelines.score_judge import scene_words


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge(Path(soracli.__file__).parent / "weights/nano/judge", "cpu")


@given(short=st.integers(8, 64), more=st.integers(0, 200))
def test_squares_cover_evenly_and_overlap_by_half(short: int, more: int) -> None:
    starts = square_starts(short + more, short)
    assert starts[0] == 0 and starts[-1] == more
    steps = [two - one for one, two in pairwise(starts)]
    assert all(0 < step <= short / 2 + 1 for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


@given(side=st.integers(4, 20), more=st.integers(0, 50))
def test_parts_of_one_map_joined_are_the_map(side: int, more: int) -> None:
    whole = torch.rand(2, side, side + more)
    starts = square_starts(side + more, side)
    parts = [whole[..., start : start + side] for start in starts]
    assert joined(parts, starts, -1).equal(whole)
    assert joined([part.mT for part in parts], starts, -2).equal(whole.mT)


def test_a_place_comes_from_the_square_whose_middle_is_nearest() -> None:
    starts = [0, 3, 6]
    found = joined([torch.full((6,), float(number)) for number in range(3)], starts, 0)
    middles = torch.tensor(starts) + 3
    for place, number in enumerate(found.tolist()):
        apart = (middles - (place + 0.5)).abs()
        assert apart[int(number)] == apart.min()


def test_a_square_has_the_objects_that_the_judge_names(judge: Judge) -> None:
    scene = sample_scene(77, 3, num_objects=2)
    times = torch.arange(0, 2, 0.25)
    frames = render_scene(scene, simulate([scene], times).position[0], times, 64, 64, samples=4).frames
    found, named = find_objects(judge, frames, 4.0), judge_video(judge, frames, 4.0)
    assert [(item.colour, item.shape) for item in found.words] == [(item.colour, item.shape) for item in named.objects]
    true_sizes = {(item.colour, item.shape): item.size for item in scene_words(scene).objects}
    assert all(item.size == true_sizes[item.colour, item.shape] for item in found.words)
    assert found.member.shape == (8, len(named.objects), 64, 64)
    with pytest.raises(DataError, match="too short"):
        find_objects(judge, frames[:3], 4.0)


@pytest.mark.parametrize("size", [(64, 112), (112, 64)])
@pytest.mark.parametrize("target", [44, 98])
def test_an_object_anywhere_in_a_long_frame_is_one(judge: Judge, size: tuple[int, int], target: int) -> None:
    """A render is moved within the frame: its object to the seam of two squares, and out of the middle square."""
    scene = next(
        scene
        for scene in (sample_scene(78, number, num_objects=1) for number in range(99))
        if scene.objects[0].motion == "rest" and scene.camera == "still" and scene.objects[0].shape == "ball"
    )
    times = torch.arange(0, 1, 0.25)
    height, width = size
    position = simulate([scene], times).position[0]
    drawn = render_scene(scene, position, times, height, width, samples=4)
    axis = 2 if width > height else 1
    truth = true_objects(scene, times, height, width).member[:, 0]
    middle = truth.any(2 if axis == 1 else 1)[0].nonzero()[:, 0].float().mean()
    moved = drawn.frames.roll(target - int(middle), axis)
    found = find_objects(judge, moved, 4.0)
    expected = scene_words(scene).objects[0]
    assert [(item.colour, item.shape) for item in found.words] == [(expected.colour, expected.shape)]
    place = found.member[0, 0].nonzero().float().mean(0)[axis - 1]
    assert float(place) == pytest.approx(target, abs=2)  # maps are as large as these frames
