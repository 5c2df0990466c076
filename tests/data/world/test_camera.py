"""Camera paths: an orthonormal frame, the distances they promise, and which way the picture moves."""

from __future__ import annotations

import pytest
import torch

from soracli.data.world.camera import DISTANCE, TARGET, camera_path
from soracli.data.world.grammar import CAMERAS
from tests.data.world.scenes import make_scene, project

TIMES = torch.arange(49) / 12
RATES = {"still": 0.0, "orbit": 0.3, "pan": 0.15, "move": 0.3}
MIDDLE = torch.tensor([0.0, TARGET, 0.0])


def rate_of(camera: str) -> float:
    return RATES[camera.split()[0]]


def columns_of(camera: str, *point: float) -> torch.Tensor:
    """Where a resting point is in the picture over time, in pixels of 128, from the left."""
    points = torch.tensor(point).expand(len(TIMES), 3)
    return project(make_scene(camera=camera, rate=rate_of(camera)), points, TIMES, 128, 128)[1]


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_frame_is_orthonormal_right_handed_and_level(camera: str) -> None:
    path = camera_path(make_scene(camera=camera, rate=rate_of(camera)), TIMES)
    axes = torch.stack([path.right, path.up, -path.forward], -1)
    torch.testing.assert_close(axes.mT @ axes, torch.eye(3).expand(len(TIMES), 3, 3))
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(len(TIMES)))
    assert (path.right[:, 1] == 0).all()
    assert (path.up[:, 1] > 0).all()


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_camera_begins_at_the_same_place(camera: str) -> None:
    still = camera_path(make_scene(), TIMES[:1])
    path = camera_path(make_scene(camera=camera, rate=rate_of(camera)), TIMES[:1])
    torch.testing.assert_close(path.origin, still.origin)
    torch.testing.assert_close(path.forward, still.forward)
    torch.testing.assert_close((still.origin - MIDDLE).norm(), torch.tensor(DISTANCE))


def test_distances_to_the_middle() -> None:
    for camera in CAMERAS:
        path = camera_path(make_scene(camera=camera, rate=rate_of(camera)), TIMES)
        away = (path.origin - MIDDLE).norm(dim=-1)
        if camera == "move in":
            assert (away[1:] < away[:-1]).all()
            assert 1 - away[-1] / DISTANCE == pytest.approx(0.3, abs=0.03)
        else:
            torch.testing.assert_close(away, torch.full_like(away, DISTANCE))


def test_all_but_a_pan_look_at_the_middle() -> None:
    for camera in CAMERAS:
        path = camera_path(make_scene(camera=camera, rate=rate_of(camera)), TIMES)
        towards = torch.nn.functional.normalize(MIDDLE - path.origin, dim=-1)
        looked_at = (towards * path.forward).sum(-1)
        assert (looked_at[1:] > 1 - 1e-5).all() != camera.startswith("pan")


def test_an_orbit_to_the_left_turns_the_scene_to_the_right() -> None:
    near = columns_of("orbit left", 0.0, 0.0, 1.5)
    far = columns_of("orbit left", 0.0, 0.0, -1.5)
    assert (near[1:] > near[:-1]).all()
    assert (far[1:] < far[:-1]).all()
    torch.testing.assert_close(columns_of("orbit right", 0.0, 0.0, 1.5), 128 - near)


def test_a_pan_to_the_left_moves_everything_to_the_right_at_first() -> None:
    for depth in (1.5, 0.0, -1.5):
        column = columns_of("pan left", 0.0, 0.0, depth)[:24]  # two seconds; the swing turns after nine quarters
        assert (column[1:] > column[:-1]).all()
        torch.testing.assert_close(columns_of("pan right", 0.0, 0.0, depth)[:24], 128 - column)


def test_moving_in_spreads_the_picture() -> None:
    column = columns_of("move in", 1.0, 0.0, 0.0)
    assert (column[1:] > column[:-1]).all()
    torch.testing.assert_close(columns_of("still", 1.0, 0.0, 0.0), column[:1].expand(len(TIMES)))
