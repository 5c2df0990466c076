"""Excerpts to fit and judge codes on: of world scenes and of a manifest's files, with the masks of their objects.

Axes: T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.core.latent_spec import LatentSpec
from soracli.data.compose import compose_over_random
from soracli.data.manifest import Clip, Manifest
from soracli.data.video_read import read_frames
from soracli.data.world.clips import world_frames
from soracli.data.world.grammar import Split
from soracli.training.seeding import derive_seed

NUM_FRAMES, SIDE, FPS = 17, 128, 12.0
"""Excerpts are the first 17 frames at 12 frames a second of 128 x 128 pixels, as near as the compression allows."""


@dataclass(frozen=True)
class SampleClip:
    """One excerpt.

    Attributes:
        name: For people.
        frames: ``(T, H, W, 3)`` uint8.
        mask: ``(T, H, W)`` bool, where its objects are; None when that is not known.
    """

    name: str
    frames: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Excerpt:
    """The shape that excerpts are read in.

    Attributes:
        num_frames: T at most; 1 + k * ``step``.
        step: Shorter clips give 1 + k * ``step`` frames, as many as they have.
        height: H.
        width: W.
        fps: Frames a second at most.
    """

    num_frames: int
    step: int
    height: int
    width: int
    fps: float


def world_clips(world_seed: int, count: int, split: Split, excerpt: Excerpt) -> Iterator[SampleClip]:
    """The beginnings of the scenes 0, 1, ... of a world; the mask is what its objects cover."""
    for index in range(count):
        frames, shown = world_frames(
            world_seed,
            index,
            num_frames=excerpt.num_frames,
            fps=excerpt.fps,
            height=excerpt.height,
            width=excerpt.width,
            split=split,
        )
        yield SampleClip(f"scene {index}", frames, shown >= 0)


def manifest_clips(manifest: Manifest, clips: Sequence[Clip], seed: int, excerpt: Excerpt) -> Iterator[SampleClip]:
    """The beginnings of clips, scaled and cut to size; transparent ones over random backgrounds, drawn by clip.

    The mask of a transparent clip is where its alpha is above a half; others have none.

    Raises:
        DataError: If a file is missing or cannot be decoded.
    """
    for clip in clips:
        rate = min(excerpt.fps, clip.fps)
        available = min(excerpt.num_frames, max(1, int(clip.seconds * rate + 1e-6)))
        rgba = read_frames(
            manifest.locate(clip),
            start=clip.start,
            num_frames=available - (available - 1) % excerpt.step,
            fps=rate,
            size=(excerpt.height, excerpt.width),
            background=None,
        )
        frames, mask = compose_over_random(rgba, derive_seed(seed, "background", clip.clip_id))
        inside = torch.from_numpy(mask)
        yield SampleClip(clip.original_name, torch.from_numpy(frames), None if bool(inside.all()) else inside)


def excerpt_for(spec: LatentSpec, size: tuple[int, int] | None = None) -> Excerpt:
    """The excerpts that a VAE is judged on: as near to the standard as its compression allows.

    Args:
        spec: Of its latents.
        size: Another height and width; None is the standard.

    Raises:
        UsageError: If the size is no multiple of the compression; names the nearest.
    """
    time, rows, columns = spec.compression
    if size is None:
        size = max(1, SIDE // rows) * rows, max(1, SIDE // columns) * columns
    spec.latent_size(*size)
    return Excerpt(
        num_frames=1 + max(1, (NUM_FRAMES - 1) // time) * time,
        step=time,
        height=size[0],
        width=size[1],
        fps=FPS,
    )
