"""Scenes made by hand, and a pinhole projection written down once more, for the tests of the world."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from soracli.data.world.camera import FIELD, camera_path
from soracli.data.world.grammar import Motion, Scene, SceneObject, Shape, Size, sample_scene


def make_object(
    shape: Shape = "ball",
    *,
    motion: Motion = "rest",
    size: Size = "small",
    radius: float = 0.3,
    position: tuple[float, float, float] = (0.0, 0.0, 0.0),
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0),
    restitution: float = 0.3,
    yaw: float = 0.4,
) -> SceneObject:
    return SceneObject(
        shape=shape,
        colour="red",
        size=size,
        motion=motion,
        radius=radius,
        position=position,
        velocity=velocity,
        restitution=restitution,
        yaw=yaw,
    )


def make_scene(*objects: SceneObject, camera: str = "still", rate: float = 0.0) -> Scene:
    return replace(sample_scene(0, 0), objects=objects, ground="sand", camera=camera, camera_rate=rate)  # type: ignore[arg-type]


def project(scene: Scene, points: Tensor, times: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column (in pixels, the middle of the first pixel is 0.5) and depth of a point ``(T, 3)`` in each frame."""
    camera = camera_path(scene, times)
    away = points - camera.origin
    depth = (away * camera.forward).sum(-1)
    per_pixel = 2 * FIELD / min(height, width)
    column = width / 2 + (away * camera.right).sum(-1) / depth / per_pixel
    row = height / 2 - (away * camera.up).sum(-1) / depth / per_pixel
    return row, column, depth
