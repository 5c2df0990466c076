"""World scenes with everything a judge should be able to say about them, drawn once into a folder of safetensors.

Axes: T frames, S side in pixels, N = 3 objects (padded), M = S / 2 side of the map of objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.files import finish_file, machine_error, part_name
from soracli.core.progress import Reporter
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
CHUNK = 50
"""Scenes in a file."""
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
    """Draw scenes ``0 .. scenes - 1`` of a world into a folder; files that are there already are kept.

    Args:
        folder: Made if it is not there; it should belong to these settings alone.
        world_seed: Which world; all combinations of attributes are shown.
        scenes: How many.
        num_frames: Frames of each.
        seconds_between: Seconds between frames.
        side: Rows and columns.
        reporter: Told how far it is.
        stop: Asked before each file; when it says so, the rest is left for another call.

    Raises:
        MachineError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with reporter.task("drawing scenes", scenes, "scenes") as task:
            for first in range(0, scenes, CHUNK):
                if stop():
                    return
                indices = range(first, min(first + CHUNK, scenes))
                path = folder / f"scenes_{first // CHUNK:05d}_{len(indices)}.safetensors"
                if not path.exists():
                    drawn = scene_clips(
                        [sample_scene(world_seed, index, split="any") for index in indices],
                        num_frames=num_frames,
                        seconds_between=seconds_between,
                        side=side,
                    )
                    save_file(drawn, part_name(path))
                    finish_file(part_name(path), path)
                task.advance(len(indices))
    except OSError as error:
        raise machine_error(error, folder, "cannot write scenes to") from error
    except SafetensorError as error:
        raise MachineError(f"cannot write scenes to {folder}: {error}") from error


def read_judge_clips(folder: Path, indices: Sequence[int]) -> dict[str, Tensor]:
    """Read some of what ``write_judge_clips`` wrote, as ``scene_clips`` gives it.

    Raises:
        ArtifactError: If a file is missing or damaged.
    """
    rows = []
    for index in indices:
        found = sorted(folder.glob(f"scenes_{index // CHUNK:05d}_*.safetensors"))
        if not found:
            raise ArtifactError(f"{folder} lacks scene {index}; run the same command again to draw it")
        try:
            with safe_open(found[-1], "pt") as file:
                rows.append({key: file.get_slice(key)[index % CHUNK] for key in _KEYS})
        except (SafetensorError, OSError) as error:
            raise ArtifactError(
                f"{found[-1]} is damaged ({error}); remove it and run the same command again"
            ) from error
    return {key: torch.stack([row[key] for row in rows]) for key in _KEYS}


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
