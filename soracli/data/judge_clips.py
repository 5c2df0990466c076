"""World scenes with everything a judge should be able to say about them, drawn once into a folder of safetensors.

Axes: T frames, S side in pixels, N = 3 objects (padded), M = S / 2 side of the map of objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.progress import Reporter
from soracli.data.drawn_scenes import read_drawn, write_drawn
from soracli.data.world.camera import DISTANCE, ELEVATION, FIELD, camera_path
from soracli.data.world.grammar import (
    CAMERAS,
    COLOURS,
    GROUNDS,
    MOTIONS,
    SHAPES,
    SIZES,
    Scene,
    sample_scene,
)
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene

MOST_OBJECTS = 3
_KEYS = ("frames", "object_index", "objects", "centre", "pose", "scene")


def scene_clips(scenes: Sequence[Scene], *, num_frames: int, seconds_between: float, side: int) -> dict[str, Tensor]:
    """Draw scenes and say what is where.

    Args:
        scenes: B scenes.
        num_frames: T.
        seconds_between: Seconds between frames.
        side: S, an even number of pixels.

    Returns:
        ``frames`` ``(B, T, S, S, 3)`` uint8; ``object_index`` ``(B, T, M, M)`` int8, -1 where there is none;
        ``objects`` ``(B, N, 4)`` int64, numbers of colour, shape, size and motion, -1 where there is none;
        ``centre`` ``(B, T, N, 3)``, where each object's middle is seen: to the right and down from the middle of the
        frame in half sides, and the logarithm of its distance along the line of sight over the arena's;
        ``pose`` ``(B, T, 3)``, the camera's azimuth and pan in radians and the share of its distance that is closed;
        ``scene`` ``(B, 2)`` int64, numbers of ground and camera.
    """
    times = torch.arange(num_frames) * seconds_between
    position = simulate(scenes, times).position
    rows = [_scene_clip(scene, position[row], times, side) for row, scene in enumerate(scenes)]
    return {key: torch.stack([row[key] for row in rows]) for key in _KEYS}


def _scene_clip(scene: Scene, position: Tensor, times: Tensor, side: int) -> dict[str, Tensor]:
    drawn = render_scene(scene, position, times, side, side)
    path = camera_path(scene, times)
    objects = torch.full((MOST_OBJECTS, 4), -1, dtype=torch.int64)
    centre = torch.zeros(len(times), MOST_OBJECTS, 3)
    for number, item in enumerate(scene.objects):
        objects[number] = torch.tensor(
            [
                COLOURS.index(item.colour),
                SHAPES.index(item.shape),
                SIZES.index(item.size),
                MOTIONS.index(item.motion),
            ]
        )
        middle = position[:, number] + torch.tensor([0.0, item.radius, 0.0])
        ahead = ((middle - path.origin) * path.forward).sum(-1).clamp(min=0.1)
        across = ((middle - path.origin) * path.right).sum(-1) / (ahead * FIELD)
        above = ((middle - path.origin) * path.up).sum(-1) / (ahead * FIELD)
        centre[:, number] = torch.stack([across, -above, (ahead / DISTANCE).log()], -1)
    azimuth = torch.atan2(path.origin[:, 0], path.origin[:, 2])
    heading = torch.atan2(-path.forward[:, 0], -path.forward[:, 2])
    away = path.origin[:, [0, 2]].norm(dim=-1)
    closed = 1 - away / (DISTANCE * torch.cos(torch.tensor(ELEVATION)))
    return {
        "frames": drawn.frames,
        "object_index": drawn.object_index[:, 1::2, 1::2].contiguous(),
        "objects": objects,
        "centre": centre,
        "pose": torch.stack([azimuth, azimuth - heading, closed], -1),
        "scene": torch.tensor([GROUNDS.index(scene.ground), CAMERAS.index(scene.camera)]),
    }


def write_judge_clips(
    folder: Path,
    *,
    world_seed: int,
    scenes: int,
    num_frames: int,
    seconds_between: float,
    side: int,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Draw scenes ``0 .. scenes - 1`` of a world into a folder, all combinations of attributes among them.

    Args:
        folder: As ``write_drawn``, like ``reporter`` and ``stop``.
        world_seed: Which world.
        scenes: How many.
        num_frames: Frames of each.
        seconds_between: Seconds between frames.
        side: Rows and columns.
        reporter: Told how far it is.
        stop: Asked before each file.

    Raises:
        MachineError: If the folder cannot be written.
    """

    def draw(indices: range) -> dict[str, Tensor]:
        drawn = [sample_scene(world_seed, index, split="any") for index in indices]
        return scene_clips(drawn, num_frames=num_frames, seconds_between=seconds_between, side=side)

    write_drawn(folder, scenes, draw, reporter=reporter, stop=stop)


def read_judge_clips(folder: Path, indices: Sequence[int]) -> dict[str, Tensor]:
    """Read some of what ``write_judge_clips`` wrote, as ``scene_clips`` gives it.

    Raises:
        ArtifactError: If a file is missing or damaged.
    """
    return read_drawn(folder, indices, _KEYS)


def mirror_clips(clips: dict[str, Tensor], flipped: Tensor) -> dict[str, Tensor]:
    """Mirror some clips left to right; what is said about them goes with it, as the world is as likely mirrored.

    Args:
        clips: As ``scene_clips`` gives them.
        flipped: ``(B,)`` bool.
    """
    frames, shown = clips["frames"].clone(), clips["object_index"].clone()
    frames[flipped] = frames[flipped].flip(3)
    shown[flipped] = shown[flipped].flip(3)
    sign = torch.where(flipped, -1.0, 1.0)
    centre, pose = clips["centre"].clone(), clips["pose"].clone()
    centre[..., 0] *= sign[:, None, None]
    pose[..., :2] *= sign[:, None, None]
    objects, scene = clips["objects"].clone(), clips["scene"].clone()
    objects[..., 3] = torch.where(flipped[:, None], _swapped(objects[..., 3], MOTIONS), objects[..., 3])
    scene[:, 1] = torch.where(flipped, _swapped(scene[:, 1], CAMERAS), scene[:, 1])
    mirrored = (frames, shown, objects, centre, pose, scene)
    return dict(zip(_KEYS, mirrored, strict=True))


def _swapped(numbers: Tensor, words: Sequence[str]) -> Tensor:
    """Numbers of the words with left and right exchanged; -1 stays."""
    exchange = {"left": "right", "right": "left"}
    other = [words.index(" ".join(exchange.get(part, part) for part in word.split())) for word in words]
    return torch.where(numbers < 0, numbers, torch.tensor(other)[numbers.clamp(min=0)])
