"""Where the camera is at any second: still, orbiting, panning or moving in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.data.world.grammar import Scene

DISTANCE = 6.4
"""Units from the middle of the arena."""
ELEVATION = 0.34
"""Radians above the ground."""
TARGET = 0.75
"""Height the camera looks at, units."""
FIELD = 0.36
"""Tangent of half the angle of view over the frame's shorter side."""
_PAN_PERIOD = 9.0
_MOVE_SECONDS = 5.0


@dataclass(frozen=True)
class CameraPath:
    """Camera over T frames.

    Attributes:
        origin: ``(T, 3)`` position.
        right, up, forward: ``(T, 3)`` unit vectors.
    """

    origin: Tensor
    right: Tensor
    up: Tensor
    forward: Tensor


def camera_path(scene: Scene, times: Tensor) -> CameraPath:
    """The camera's pose at each time.

    A pan swings to the named side and back; moving in closes the named share of the distance and stays; an orbit
    to the left carries the camera to its left, so the scene turns to the right.

    Args:
        scene: Its ``camera`` and ``camera_rate`` decide.
        times: ``(T,)`` seconds.
    """
    kind, _, side = scene.camera.partition(" ")
    sign = -1.0 if side == "left" else 1.0
    zero = torch.zeros_like(times)
    azimuth = sign * scene.camera_rate * times if kind == "orbit" else zero
    pan = sign * scene.camera_rate * torch.sin(2 * math.pi * times / _PAN_PERIOD) if kind == "pan" else zero
    closing = scene.camera_rate * (1 - torch.exp(-times * 3 / _MOVE_SECONDS)) if kind == "move" else zero
    distance = DISTANCE * (1 - closing)

    origin = torch.stack(
        [
            distance * math.cos(ELEVATION) * torch.sin(azimuth),
            TARGET + distance * math.sin(ELEVATION),
            distance * math.cos(ELEVATION) * torch.cos(azimuth),
        ],
        -1,
    )
    heading = azimuth - pan
    level = math.cos(ELEVATION)
    forward = torch.stack(
        [-level * torch.sin(heading), torch.full_like(times, -math.sin(ELEVATION)), -level * torch.cos(heading)], -1
    )
    right = torch.stack([torch.cos(heading), zero, -torch.sin(heading)], -1)
    up = torch.linalg.cross(right, forward)
    return CameraPath(origin=origin, right=right, up=up, forward=forward)
