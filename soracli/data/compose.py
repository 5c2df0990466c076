"""Cut-out clips (RGBA) laid over random backgrounds, so that a model meets their shapes on more than one colour.

Axes: T frames, H rows, W columns.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from soracli.data.image_read import Frames
from soracli.data.world.grammar import sample_scene
from soracli.data.world.render import render_scene

Mask = npt.NDArray[np.bool_]


def compose_over_random(rgba: Frames, seed: int) -> tuple[Frames, Mask]:
    """Lay a clip over a background that stands still: a flat colour, a gradient or an empty place of the world.

    Args:
        rgba: ``(T, H, W, 4)`` uint8, colours not multiplied by alpha.
        seed: Decides the background; the same seed and size always give the same one.

    Returns:
        Frames ``(T, H, W, 3)`` uint8, and ``(T, H, W)`` bool: where alpha is above a half. A clip without
        transparency comes back as it was, with a mask of True everywhere.

    Raises:
        ValueError: If the array is no uint8 RGBA video.
    """
    if rgba.dtype != np.uint8 or rgba.ndim != 4 or rgba.shape[3] != 4:
        raise ValueError(f"need uint8 (T, H, W, 4), got {rgba.dtype} {rgba.shape}")
    alpha = rgba[..., 3:]
    if alpha.size == 0 or alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3]), np.ones(rgba.shape[:3], bool)
    background = random_background(rgba.shape[1], rgba.shape[2], seed)
    share = alpha.astype(np.float32) / 255
    mixed = background + share * (rgba[..., :3].astype(np.float32) - background)
    return np.rint(mixed).astype(np.uint8), alpha[..., 0] > 127


def random_background(height: int, width: int, seed: int) -> Frames:
    """A background picture: a third flat colours, a third two-colour gradients, a third empty places of the world.

    Args:
        height: H, pixels.
        width: W, pixels.
        seed: Decides everything.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    rng = random.Random(f"sora background {seed}")
    kind = rng.choice(("flat", "gradient", "world"))
    if kind == "world":
        scene = replace(sample_scene(rng.randrange(2**31), 0), objects=(), camera="still")
        drawn = render_scene(scene, torch.zeros(1, 0, 3), torch.zeros(1), height, width)
        return drawn.frames[0].numpy()
    first, second = (np.array([rng.randrange(256) for _ in range(3)], np.float32) for _ in range(2))
    if kind == "flat":
        return np.broadcast_to(first.astype(np.uint8), (height, width, 3)).copy()
    angle = rng.uniform(0, 2 * np.pi)
    down, across = np.mgrid[:height, :width].astype(np.float32)
    along = np.cos(angle) * across / max(width, 1) + np.sin(angle) * down / max(height, 1)
    share = ((along - along.min()) / max(float(np.ptp(along)), 1e-6))[..., None]
    return np.rint(first + share * (second - first)).astype(np.uint8)
