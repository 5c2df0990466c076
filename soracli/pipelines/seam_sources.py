"""Videos that seams are measured on: scenes of the world, and clips that people made, in lossless files."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from soracli.core.errors import DataError
from soracli.data.image_read import Frames
from soracli.data.manifest import Clip, Manifest, read_manifest
from soracli.data.video_read import stream_frames
from soracli.data.video_write import VideoWriter
from soracli.data.world.captions import caption_scene
from soracli.data.world.grammar import sample_scene
from soracli.pipelines.evaluate_obedience import render
from soracli.pipelines.video_maker import VideoMaker
from soracli.training.seeding import data_order

WORLD_SEEDS = 4_000_000
"""Scenes are of the world ``WORLD_SEEDS + seed``: nothing else draws it."""
SECONDS = 4.0
"""Length of the videos at most."""
FEWEST_SECONDS = 1.0
"""Shorter clips are left out: a loop makes a part of a video anew."""


@dataclass(frozen=True)
class VideoForm:
    """Rate and size of a video.

    Attributes:
        fps: Frames a second.
        size: Height and width.
    """

    fps: float
    size: tuple[int, int]


@dataclass(frozen=True)
class SeamSource:
    """One video that is made longer, connected and looped.

    Attributes:
        name: What it is called.
        prompt: What it shows.
        form: Its own rate and size.
        read: Its frames, chunk by chunk, at a rate and a size.
    """

    name: str
    prompt: str
    form: VideoForm
    read: Callable[[VideoForm], Iterable[Frames]]


@dataclass(frozen=True)
class SourceFile:
    """A video as it was written.

    Attributes:
        path: A .mkv that keeps every pixel.
        digests: SHA-256 of each frame that was put into it.
    """

    path: Path
    digests: list[bytes]


def world_sources(maker: VideoMaker, count: int, seed: int, device: torch.device) -> Iterator[SeamSource]:
    """Scenes as the world draws them, of the size and rate of the maker's videos, each with a short caption."""
    form = VideoForm(maker.fps, (maker.height, maker.width))
    for index in range(count):
        scene = sample_scene(WORLD_SEEDS + seed, index, split="any")
        prompt = caption_scene(scene, style="short", moving=True, rng=random.Random(f"seams {seed} {index}"))
        frames = render(scene, maker, SECONDS, device).numpy()
        yield SeamSource(f"scene {index}", prompt, form, lambda form, frames=frames: [frames])  # type: ignore[misc]


def clip_sources(path: Path, count: int, seed: int) -> list[SeamSource]:
    """Clips of a manifest at their own size and rate, those of its validation part where it has one.

    Args:
        path: The manifest.
        count: How many; fewer clips come more than once.
        seed: Decides which.

    Raises:
        DataError: If it cannot be read, or has no clip of ``FEWEST_SECONDS``.
    """
    manifest = read_manifest(path)
    long = [clip for clip in manifest.clips if clip.kind != "image" and clip.seconds >= FEWEST_SECONDS]
    clips = [clip for clip in long if clip.split == "validation"] or long
    if not clips:
        raise DataError(f"{path}: no clip of {FEWEST_SECONDS:g} s or more, which a seam is measured on")
    order = data_order(seed, len(clips), 0)
    chosen = [clips[int(order[number % len(clips)])] for number in range(count)]
    return [
        SeamSource(
            name=clip.original_name,
            prompt=clip.caption,
            form=VideoForm(clip.fps, (clip.height, clip.width)),
            read=_reader(manifest, clip),
        )
        for clip in chosen
    ]


def write_source(source: SeamSource, path: Path, form: VideoForm | None = None) -> SourceFile:
    """Write a video as the user would have it.

    Args:
        source: The video.
        path: A .mkv.
        form: Rate and size; its own if None.
    """
    form = form or source.form
    digests: list[bytes] = []
    with VideoWriter(path, fps=form.fps, lossless=True, overwrite=True) as writer:
        for frames in source.read(form):
            digests += frame_digests(frames)
            writer.write(frames)
    return SourceFile(path, digests)


def frame_digests(frames: Frames) -> list[bytes]:
    """SHA-256 of each of the frames ``(T, H, W, 3)``."""
    return [hashlib.sha256(frame.tobytes()).digest() for frame in frames]


def _reader(manifest: Manifest, clip: Clip) -> Callable[[VideoForm], Iterator[Frames]]:
    def read(form: VideoForm) -> Iterator[Frames]:
        return stream_frames(
            manifest.locate(clip),
            start=clip.start,
            num_frames=max(1, int(min(clip.seconds, SECONDS) * form.fps + 1e-6)),
            fps=form.fps,
            size=None if form.size == (clip.height, clip.width) else form.size,
        )

    return read
