"""Pictures against projected centres, brute-force supersampling, other sizes and chunks, and scenes without objects."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from soracli.data.world import render
from soracli.data.world.grammar import COLOURS, Scene, sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import Rendered, render_scene
from soracli.data.world.shapes import CONE_HEIGHT, CUBE_SIDE
from tests.data.world.scenes import make_object, make_scene, project

TIMES = torch.arange(3) / 2
MIDDLE_HEIGHT = {"ball": 1.0, "cube": 0.5 * CUBE_SIDE, "cone": 0.4 * CONE_HEIGHT}


def draw(scene: Scene, height: int = 48, width: int = 48, *, times: Tensor = TIMES, samples: int = 9) -> Rendered:
    return render_scene(scene, simulate([scene], times).position[0], times, height, width, samples=samples)


def test_the_index_is_where_the_centre_is_projected() -> None:
    found = 0
    for index in range(14):
        scene = sample_scene(4, index, split="any", num_objects=1)
        path = simulate([scene], TIMES).position[0]
        shown = render_scene(scene, path, TIMES, 64, 64, samples=1).object_index
        item = scene.objects[0]
        centre = path[:, 0] + torch.tensor([0, MIDDLE_HEIGHT[item.shape] * item.radius, 0])
        row, column, _ = project(scene, centre, TIMES, 64, 64)
        for frame in range(len(TIMES)):
            if 0 <= row[frame] < 64 and 0 <= column[frame] < 64:
                found += 1
                assert shown[frame, int(row[frame]), int(column[frame])] == 0
                rows, columns = (shown[frame] == 0).nonzero().T.double()
                if item.shape == "ball" and min(rows.min(), columns.min()) > 0 and max(rows.max(), columns.max()) < 63:
                    assert rows.mean() + 0.5 == pytest.approx(float(row[frame]), abs=1)
                    assert columns.mean() + 0.5 == pytest.approx(float(column[frame]), abs=1)
    assert found > 30


def test_the_nearer_object_hides_the_other() -> None:
    near, far = make_object(radius=0.6, position=(0, 0, 1.0)), make_object(radius=0.3, position=(0, 0, -1.0))
    for objects, front in (((near, far), 0), ((far, near), 1)):
        shown = draw(make_scene(*objects), times=TIMES[:1]).object_index
        alone = draw(make_scene(near), times=TIMES[:1]).object_index
        assert torch.equal(shown == front, alone == 0)


def supersampled(scene: Scene, size: int, side: int) -> Tensor:
    """Every pixel as the mean, in linear colour, of side x side pixels of a larger picture."""
    large = draw(scene, size * side, size * side, times=TIMES[:1], samples=1).frames[0]
    linear = (large / 255.0) ** 2.2
    return 255 * linear.unfold(0, side, side).unfold(1, side, side).mean((-1, -2)) ** (1 / 2.2)


def test_antialiasing_is_close_to_brute_force() -> None:
    """In steps of 255. What is left is the ground's pattern, which fades a little sooner than the finer picture's."""
    for index in range(4):
        scene = sample_scene(6, index, split="any", num_objects=3)
        brute = supersampled(scene, 64, 5)
        drawn = draw(scene, 64, 64, times=TIMES[:1])
        smooth = (drawn.frames[0] - brute).abs()
        rough = (draw(scene, 64, 64, times=TIMES[:1], samples=1).frames[0] - brute).abs()
        assert smooth.mean() < 1.7
        assert smooth.mean() < 0.8 * rough.mean()
        shown = drawn.object_index.float()
        outline = torch.nn.functional.max_pool2d(shown, 3, 1, 1) != -torch.nn.functional.max_pool2d(-shown, 3, 1, 1)
        assert outline.sum() > 100
        assert smooth[outline[0]].mean() < 0.35 * rough[outline[0]].mean()


def test_the_same_scene_gives_the_same_bytes() -> None:
    scene = sample_scene(6, 1)
    one, two = draw(scene), draw(scene)
    assert torch.equal(one.frames, two.frames)
    assert torch.equal(one.object_index, two.object_index)
    assert one.frames.dtype == torch.uint8
    assert one.frames.shape == (3, 48, 48, 3)
    assert one.object_index.dtype == torch.int8


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of other lengths may round a last bit otherwise; that may turn a value by one."""
    scene = sample_scene(6, 2, num_objects=2)
    whole = draw(scene)
    monkeypatch.setattr(render, "_CHUNK", 997)
    parts = draw(scene)
    assert torch.equal(whole.object_index, parts.object_index)
    assert (whole.frames.int() - parts.frames.int()).abs().max() <= 1
    assert (whole.frames != parts.frames).float().mean() < 1e-3


def test_an_image_is_the_first_frame_of_the_video() -> None:
    for index in range(3):
        scene = sample_scene(8, index)
        video, image = draw(scene), draw(scene, times=TIMES[:1])
        assert torch.equal(video.object_index[:1], image.object_index)
        assert (video.frames[:1].int() - image.frames.int()).abs().max() <= 1


@pytest.mark.parametrize(("height", "width"), [(48, 80), (80, 48), (47, 63)])
def test_other_shapes_show_more_of_the_same(height: int, width: int) -> None:
    """The field belongs to the shorter side, so the middle square of a wide picture is the square picture."""
    scene, side = sample_scene(6, 3), min(height, width)
    wide, square = draw(scene, height, width), draw(scene, side, side)
    top, left = (height - side) // 2, (width - side) // 2
    cut = (slice(None), slice(top, top + side), slice(left, left + side))
    assert torch.equal(wide.object_index[cut], square.object_index)
    # A pixel at the border of the square cannot see whether its outer neighbour shows another thing.
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert (wide.frames[cut][inner].int() - square.frames[inner].int()).abs().max() <= 1


def test_shadows_only_darken_and_fall_away_from_the_sun() -> None:
    item = make_object("cube", radius=0.6)
    for azimuth in (-0.9, 0.9):
        scene = replace(make_scene(item), sun=(azimuth, 0.8))
        with_object, without = draw(scene, 64, 64, times=TIMES[:1]), draw(make_scene(), 64, 64, times=TIMES[:1])
        ground = torch.nn.functional.max_pool2d((with_object.object_index == 0).float(), 3, 1, 1) == 0
        change = (with_object.frames.int() - without.frames.int()).sum(-1)
        assert (change[ground] <= 0).all()
        dark = (change < -60) & ground
        assert dark.sum() > 30
        columns = dark.nonzero()[:, 2].double()
        assert (columns.mean() < 32) == (azimuth > 0)


def test_colours_look_as_they_are_called() -> None:
    seen = {}
    for colour in COLOURS:
        drawn = draw(make_scene(replace(make_object("ball", radius=0.6), colour=colour)), times=TIMES[:1])
        seen[colour] = drawn.frames[drawn.object_index == 0].double().mean(0)
    for one, two in itertools.combinations(COLOURS, 2):
        assert (seen[one] - seen[two]).abs().max() > 30
    red, green, blue = 0, 1, 2
    assert seen["red"][red] > 2 * seen["red"][green]
    assert seen["red"][red] > 2 * seen["red"][blue]
    assert seen["green"][green] > 1.5 * max(seen["green"][red], seen["green"][blue])
    assert seen["blue"][blue] > 1.5 * max(seen["blue"][red], seen["blue"][green])
    assert seen["yellow"][blue] < 0.6 * min(seen["yellow"][red], seen["yellow"][green])
    assert seen["orange"][red] > seen["orange"][green] > 1.5 * seen["orange"][blue]
    assert min(seen["purple"][red], seen["purple"][blue]) > 1.5 * seen["purple"][green]
    assert seen["white"].min() > 150
    assert seen["black"].max() < 90
