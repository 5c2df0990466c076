"""Drawing scenes: reproducible, the held-out tenth kept apart, and directions that are seen as they are named."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.world.grammar import (
    ARENA,
    CAMERAS,
    COLOURS,
    GROUNDS,
    HELD_OUT,
    MOTIONS,
    SHAPES,
    SIZES,
    Motion,
    Scene,
    Split,
    sample_scene,
)
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from tests.data.world.scenes import make_scene, project

SPLITS: tuple[Split, ...] = ("train", "held_out", "any")


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**9), st.sampled_from(SPLITS), st.sampled_from((None, 1, 2, 3)))
def test_the_same_numbers_give_the_same_scene(seed: int, index: int, split: Split, count: int | None) -> None:
    scene = sample_scene(seed, index, split=split, num_objects=count)
    assert scene == sample_scene(seed, index, split=split, num_objects=count)
    assert scene != sample_scene(seed, index + 1, split=split, num_objects=count)
    assert scene != sample_scene(seed + 1, index, split=split, num_objects=count)
    assert len(scene.objects) in ((1, 2, 3) if count is None else (count,))
    assert scene.held_out == any(item.combination in HELD_OUT for item in scene.objects)
    if split != "any":
        assert scene.held_out == (split == "held_out")
    if split == "held_out":
        assert sum(item.combination in HELD_OUT for item in scene.objects) == 1


def test_scenes_stay_what_they_were() -> None:
    """Written down when the world was frozen: shipped weights were trained on these scenes."""
    said = [
        (*item.combination, round(item.radius, 6), *(round(place, 6) for place in item.position))
        for item in (*sample_scene(0, 1).objects, *sample_scene(7, 3, split="held_out").objects)
    ]
    assert said == GOLDEN


GOLDEN = [
    ("small", "purple", "ball", "right", 0.314551, -0.589304, 0.0, 0.560498),
    ("large", "blue", "ball", "away", 0.635894, 1.04141, 0.0, 0.409189),
    ("large", "blue", "cone", "right", 0.608596, -0.853426, 0.0, 0.249306),
    ("small", "orange", "cone", "bounce", 0.29616, 1.149227, 0.794399, -1.257043),
]


def test_a_tenth_of_the_combinations_is_held_out() -> None:
    everything = set(itertools.product(SIZES, COLOURS, SHAPES, MOTIONS))
    assert len(everything) == 336
    assert len(HELD_OUT) == 34
    assert everything > HELD_OUT
    # No word is held out as a whole: each is learnt in other combinations.
    for place, words in enumerate((SIZES, COLOURS, SHAPES, MOTIONS)):
        assert {combination[place] for combination in everything - HELD_OUT} == set(words)


def test_every_word_is_drawn() -> None:
    scenes = [sample_scene(1, index, split="any") for index in range(1500)]
    items = [item for scene in scenes for item in scene.objects]
    assert {item.combination for item in items} > HELD_OUT
    assert {scene.ground for scene in scenes} == set(GROUNDS)
    assert {scene.camera for scene in scenes} == set(CAMERAS)
    counts = Counter(len(scene.objects) for scene in scenes)
    assert counts[1] > counts[2] > counts[3] > 100
    for words, name in ((SIZES, "size"), (COLOURS, "colour"), (SHAPES, "shape"), (MOTIONS, "motion")):
        seen = Counter(getattr(item, name) for item in items)
        assert set(seen) == set(words)
        assert min(seen.values()) > 0.7 * len(items) / len(words)


def test_objects_start_inside_and_apart() -> None:
    for index in range(400):
        scene = sample_scene(2, index, split="any")
        for one, two in itertools.combinations(scene.objects, 2):
            gap = math.hypot(one.position[0] - two.position[0], one.position[2] - two.position[2])
            assert gap > one.radius + two.radius
        for item in scene.objects:
            assert max(abs(item.position[0]), abs(item.position[2])) <= ARENA - item.radius
            assert (item.position[1] > 0) == (item.motion in ("bounce", "fall"))


def still_scenes(motion: Motion, count: int) -> list[Scene]:
    scenes = (sample_scene(3, index, split="any", num_objects=1) for index in range(2000))
    return [make_scene(*scene.objects) for scene in scenes if scene.objects[0].motion == motion][:count]


@pytest.mark.parametrize(("motion", "sign"), [("left", -1), ("right", 1), ("rest", 0), ("bounce", 0), ("fall", 0)])
def test_sideways_is_sideways_in_the_picture(motion: Motion, sign: int) -> None:
    times = torch.arange(13) / 12  # the first second
    scenes = still_scenes(motion, 20)
    path = simulate(scenes, times)
    for row, scene in enumerate(scenes):
        _, column, _ = project(scene, path.position[row, :, 0], times, 128, 128)
        steps = column[1:] - column[:-1]
        assert (steps * sign > 0).all() if sign else abs(float(column[-1] - column[0])) < 6


@pytest.mark.parametrize(("motion", "sign"), [("towards", 1), ("away", -1)])
def test_what_comes_towards_the_camera_grows(motion: Motion, sign: int) -> None:
    times = torch.tensor([0.0, 0.5, 1.0])
    scenes = [scene for scene in still_scenes(motion, 30) if abs(scene.objects[0].position[0]) < 0.6][:6]
    assert len(scenes) == 6
    path = simulate(scenes, times)
    for row, scene in enumerate(scenes):
        drawn = render_scene(scene, path.position[row], times, 64, 64, samples=1)
        shown = (drawn.object_index == 0).sum((1, 2))
        assert ((shown[1:] - shown[:-1]) * sign > 0).all()


def test_a_bounce_comes_up_again_and_a_fall_does_not() -> None:
    times = torch.arange(60) / 12
    bouncing, falling = still_scenes("bounce", 10), still_scenes("fall", 10)
    height = simulate([*bouncing, *falling], times).position[:, :, 0, 1]
    again = height[:, 30:].amax(1) / height[:, 0]
    assert (again[:10] > 0.9).all()
    assert (again[10:] < 0.1).all()
