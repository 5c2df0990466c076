"""What of a scene a clip shows, and the scene in a mirror.

Axes: T frames, H rows, W columns, N objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from soracli.data.world.grammar import Camera, Motion, Scene

_LEAST: Final = 0.001
"""Share of a frame that an object must cover to be seen in it: 9 pixels of 96 x 96."""
_SWAPPED: Final = {"left": "right", "right": "left"}


def shown_shares(object_index: Tensor, num_objects: int) -> Tensor:
    """Share of each frame that each object covers, ``(T, N)``.

    Args:
        object_index: ``(T, H, W)`` as ``render_scene`` gives it.
        num_objects: N.
    """
    numbers = torch.arange(num_objects, device=object_index.device)
    return (object_index[:, None] == numbers[:, None, None]).float().mean((2, 3))


def seen_objects(shares: Tensor) -> list[int]:
    """Numbers of the objects that ``shares`` ``(T, N)`` show: in the first frame, and in a third of all at least."""
    seen = shares >= _LEAST
    return (seen[0] & (seen.float().mean(0) >= 1 / 3)).nonzero()[:, 0].tolist()


def with_objects(scene: Scene, numbers: Sequence[int]) -> Scene:
    """The scene with these of its objects alone."""
    return replace(scene, objects=tuple(scene.objects[number] for number in numbers))


def mirrored(scene: Scene) -> Scene:
    """The scene that shows what this one shows, left and right exchanged (but for the pattern of the ground)."""
    objects = tuple(
        replace(
            item,
            motion=_other_side(item.motion),
            position=(-item.position[0], *item.position[1:]),
            velocity=(-item.velocity[0], *item.velocity[1:]),
            yaw=-item.yaw,
        )
        for item in scene.objects
    )
    return replace(scene, objects=objects, camera=_camera(scene.camera), sun=(-scene.sun[0], scene.sun[1]))


def _other_side(motion: Motion) -> Motion:
    return _SWAPPED.get(motion, motion)  # type: ignore[return-value]


def _camera(camera: Camera) -> Camera:
    return " ".join(_SWAPPED.get(word, word) for word in camera.split())  # type: ignore[return-value]
