"""World scenes as training clips: frames, captions and who stands where, drawn by index."""

from __future__ import annotations

import torch
from torch import Tensor

from soracli.data.world.grammar import Split, sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene


def world_frames(
    seed: int,
    index: int,
    *,
    num_frames: int,
    fps: float,
    height: int,
    width: int,
    split: Split = "train",
    start: float = 0.0,
    samples: int = 9,
) -> tuple[Tensor, Tensor]:
    """Frames of scene ``index``.

    Args:
        seed: Which world.
        index: Which scene.
        num_frames: T.
        fps: Frames a second.
        height: H.
        width: W.
        split: Which combinations of attributes.
        start: Seconds into the scene of the first frame.
        samples: Rays through each pixel on an edge.

    Returns:
        Frames ``(T, H, W, 3)`` uint8 and the index of the object each pixel shows ``(T, H, W)`` int8, -1 for none.
    """
    scene = sample_scene(seed, index, split=split)
    times = start + torch.arange(num_frames) / fps
    path = simulate([scene], times)
    drawn = render_scene(scene, path.position[0], times, height, width, samples=samples)
    return drawn.frames, drawn.object_index
