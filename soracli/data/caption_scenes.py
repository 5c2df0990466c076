"""World scenes for captioners: frames drawn once, with what of each scene they show; captions are drawn anew.

Axes: T frames, S side in pixels, N = 3 objects (padded).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soracli.data.drawn_scenes import read_drawn
from soracli.data.world.captions import Style, caption_scene, facts
from soracli.data.world.grammar import Scene, Split, sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from soracli.data.world.seen import mirrored, seen_objects, shown_shares, with_objects

_MOST_OBJECTS = 3
_KEYS = ("frames", "shares", "contact")
_SAMPLES = 4


@dataclass(frozen=True)
class SceneClip:
    """Frames of a scene, and the scene with those objects alone that they show.

    Attributes:
        frames: ``(T, S, S, 3)`` uint8.
        times: ``(T,)`` seconds.
        scene: With the objects that can be seen; there is at least one.
        contact: Whether two of several objects bump into each other meanwhile.
    """

    frames: Tensor
    times: Tensor
    scene: Scene
    contact: bool

    @property
    def is_moving(self) -> bool:
        """Whether motion can be told: not in a picture."""
        return len(self.times) > 1

    def caption(self, style: Style, rng: random.Random) -> str:
        """One of many captions of what can be seen."""
        return caption_scene(self.scene, style=style, moving=self.is_moving, rng=rng, contact=self.contact)

    def facts(self) -> dict[str, Any]:
        """What can be seen, in the form of ``parse_prompt``: None for what a picture does not show."""
        found = facts(self.scene) | {"contact": self.contact}
        if not self.is_moving:
            found["camera"] = None
            for item in found["objects"]:
                item["motion"] = None
        return found


def scene_drawer(
    world_seed: int, split: Split, num_frames: int, seconds_between: float, side: int
) -> Callable[[range], dict[str, Tensor]]:
    """What ``write_drawn`` draws.

    Args:
        world_seed: Which world.
        split: Which combinations of attributes.
        num_frames: T.
        seconds_between: Seconds between frames.
        side: S.

    Returns:
        Gives of B scenes ``frames`` ``(B, T, S, S, 3)`` uint8, ``shares`` ``(B, T, N)`` of each frame that each object
        covers, and ``contact`` ``(B, T)``, collisions so far.
    """

    def draw(indices: range) -> dict[str, Tensor]:
        scenes = [sample_scene(world_seed, index, split=split) for index in indices]
        times = torch.arange(num_frames) * seconds_between
        path = simulate(scenes, times)
        frames, shares = [], []
        for row, scene in enumerate(scenes):
            drawn = render_scene(scene, path.position[row], times, side, side, samples=_SAMPLES)
            frames.append(drawn.frames)
            shares.append(shown_shares(drawn.object_index, _MOST_OBJECTS))
        return {"frames": torch.stack(frames), "shares": torch.stack(shares), "contact": path.contact}

    return draw


def read_scene_clip(
    folder: Path,
    world_seed: int,
    split: Split,
    index: int,
    *,
    num_frames: int,
    seconds_between: float,
    stride: int = 1,
    mirror: bool = False,
) -> SceneClip | None:
    """One scene of what ``write_drawn`` wrote with ``scene_drawer``.

    Args:
        folder: Where it was drawn.
        world_seed: As it was drawn with.
        split: Likewise.
        index: Which scene.
        num_frames: T, the first ones, ``stride`` apart.
        seconds_between: Of what was drawn.
        stride: Takes every frame, every second one, and so on.
        mirror: Left and right exchanged; of training scenes not where that would show what is held out.

    Returns:
        None if no object of it can be seen.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    drawn = {key: value[0] for key, value in read_drawn(folder, [index], _KEYS).items()}
    picked = torch.arange(num_frames) * stride
    scene = sample_scene(world_seed, index, split=split)
    numbers = seen_objects(drawn["shares"][picked, : len(scene.objects)])
    if not numbers:
        return None
    scene, frames = with_objects(scene, numbers), drawn["frames"][picked]
    if mirror and (split != "train" or not mirrored(scene).held_out):
        scene, frames = mirrored(scene), frames.flip(2)
    contact = len(numbers) > 1 and num_frames > 1 and bool(drawn["contact"][picked[-1]] > 0)
    return SceneClip(frames, picked * seconds_between, scene, contact)
