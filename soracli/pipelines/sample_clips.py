"""Clips to fit and judge codes on: excerpts of world scenes and of a manifest's files, with the masks of their objects.

Axes: T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.errors import DataError
from soracli.core.latent_spec import LatentSpec
from soracli.data.compose import compose_over_random
from soracli.data.manifest import Clip, Manifest, read_manifest
from soracli.data.video_read import read_frames
from soracli.data.world.clips import world_frames
from soracli.data.world.grammar import Split
from soracli.training.seeding import data_order, derive_seed

NUM_FRAMES, SIDE, FPS = 17, 128, 12.0
"""Excerpts are the first 17 frames at 12 frames a second of 128 x 128 pixels, as near as the compression allows."""
WORLD_SEEDS = 1_000_000
"""Scenes are of the world ``WORLD_SEEDS + seed``; recipes use small numbers."""
TRAINING_CLIPS = 64
"""Clips that the linear code is fitted on, at most."""


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


@dataclass(frozen=True)
class ClipSource:
    """A set of clips in two halves.

    Attributes:
        name: ``world`` or ``clips``.
        num_clips: Clips held out.
        num_training_clips: Clips to fit on.
        held_out: Reads the clips held out, one after the other.
        training: Reads those to fit on.
        protocol: Which clips these are, for people.
    """

    name: str
    num_clips: int
    num_training_clips: int
    held_out: Callable[[], Iterator[SampleClip]]
    training: Callable[[], Iterator[SampleClip]]
    protocol: str


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


def excerpt_for(spec: LatentSpec) -> Excerpt:
    """The excerpts that a VAE is judged on: as near to the standard as its compression allows."""
    time, height, width = spec.compression
    return Excerpt(
        num_frames=1 + max(1, (NUM_FRAMES - 1) // time) * time,
        step=time,
        height=max(1, SIDE // height) * height,
        width=max(1, SIDE // width) * width,
        fps=FPS,
    )


def world_source(count: int, seed: int, excerpt: Excerpt) -> ClipSource:
    """Scenes with held-out combinations, and scenes to fit on, of a world that no recipe uses."""
    world = WORLD_SEEDS + seed
    return ClipSource(
        name="world",
        num_clips=count,
        num_training_clips=TRAINING_CLIPS,
        held_out=lambda: world_clips(world, count, "held_out", excerpt),
        training=lambda: world_clips(world, TRAINING_CLIPS, "train", excerpt),
        protocol=(
            f"{count} scenes of the world {world} with held-out combinations, first {excerpt.num_frames} frames at "
            f"{excerpt.fps:g} fps, {excerpt.width}x{excerpt.height}; linear code fitted on {TRAINING_CLIPS} scenes of "
            "the training combinations"
        ),
    )


def manifest_source(path: Path, seed: int, excerpt: Excerpt) -> ClipSource:
    """All validation clips of a manifest, and some of its training clips.

    Raises:
        DataError: If the manifest cannot be read or lacks a split.
    """
    manifest = read_manifest(path)
    splits: dict[str, list[Clip]] = {"train": [], "validation": []}
    for clip in manifest.clips:
        splits[clip.split].append(clip)
    for split, found in splits.items():
        if not found:
            raise DataError(f"{path}: no clip of the split '{split}'; evaluation needs both train and validation")
    held_out, train = splits["validation"], splits["train"]
    chosen = [train[int(index)] for index in data_order(seed, len(train), 0)[:TRAINING_CLIPS]]
    return ClipSource(
        name="clips",
        num_clips=len(held_out),
        num_training_clips=len(chosen),
        held_out=lambda: manifest_clips(manifest, held_out, seed, excerpt),
        training=lambda: manifest_clips(manifest, chosen, seed, excerpt),
        protocol=(
            f"all {len(held_out)} validation clips of {path}, first {excerpt.num_frames} frames at most at "
            f"{excerpt.fps:g} fps at most, {excerpt.width}x{excerpt.height} cut from the middle, transparent ones over "
            f"random backgrounds (seed {seed}); linear code fitted on {len(chosen)} of {len(train)} training clips"
        ),
    )
