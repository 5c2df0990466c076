"""Sets of clips that a code is judged by, each with the clips that a linear code is fitted on for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from soracli.core.errors import DataError
from soracli.data.manifest import Clip, Manifest, Split, read_manifest
from soracli.pipelines.sample_clips import Excerpt, SampleClip, manifest_clips, world_clips
from soracli.training.seeding import data_order

WORLD_SEEDS = 1_000_000
"""Scenes are of the world ``WORLD_SEEDS + seed``; recipes use small numbers."""
TRAINING_CLIPS = 256
"""Clips that the linear code is fitted on, at most."""


@dataclass(frozen=True, eq=False)
class TrainingClips:
    """Clips to fit a code on; several sources may share them.

    Attributes:
        num_clips: How many.
        read: Reads them, one after the other.
        protocol: Which clips these are, for people.
    """

    num_clips: int
    read: Callable[[], Iterator[SampleClip]]
    protocol: str


@dataclass(frozen=True)
class ClipSource:
    """A set of clips to judge by, and what to fit on for it.

    Attributes:
        name: ``world``, or what the manifest is called.
        num_clips: Clips held out.
        held_out: Reads the clips held out, one after the other.
        training: Those to fit on.
        protocol: Which clips these are, for people.
    """

    name: str
    num_clips: int
    held_out: Callable[[], Iterator[SampleClip]]
    training: TrainingClips
    protocol: str


def world_source(count: int, seed: int, excerpt: Excerpt) -> ClipSource:
    """Scenes with held-out combinations, and scenes to fit on, of a world that no recipe uses."""
    world = WORLD_SEEDS + seed
    return ClipSource(
        name="world",
        num_clips=count,
        held_out=lambda: world_clips(world, count, "held_out", excerpt),
        training=TrainingClips(
            num_clips=TRAINING_CLIPS,
            read=lambda: world_clips(world, TRAINING_CLIPS, "train", excerpt),
            protocol=f"{TRAINING_CLIPS} scenes of the training combinations",
        ),
        protocol=(
            f"{count} scenes of the world {world} with held-out combinations, first {excerpt.num_frames} frames at "
            f"{excerpt.fps:g} fps, {excerpt.width}x{excerpt.height}"
        ),
    )


def manifest_sources(paths: Sequence[Path], fit: Path | None, seed: int, excerpt: Excerpt) -> list[ClipSource]:
    """All validation clips of manifests, one source each, and training clips to fit on.

    Args:
        paths: The manifests.
        fit: Whose training clips are fitted on for all of them. None takes each manifest's own, and for one without
            any those of the first that has some.
        seed: Decides backgrounds and which training clips are taken.
        excerpt: How clips are read.

    Raises:
        DataError: If a manifest cannot be read or has no validation clips, or there are no training clips.
    """
    manifests = [read_manifest(path) for path in paths]
    for manifest in manifests:
        if not _of_split(manifest, "validation"):
            raise DataError(f"{manifest.path}: no clip of the split 'validation', which is what is judged")
    own = [_training_clips(manifest, seed, excerpt) for manifest in manifests]
    shared = next((clips for clips in own if clips is not None), None)
    if fit is not None:
        shared = _training_clips(read_manifest(fit), seed, excerpt)
        own = [shared] * len(manifests)
    if shared is None:
        raise DataError(
            f"{fit or paths[0]}: no clip of the split 'train' to fit the linear code on; "
            "name a manifest that has some with --fit"
        )
    return [
        _manifest_source(manifest, name, clips or shared, seed, excerpt)
        for manifest, name, clips in zip(manifests, clips_names(paths), own, strict=True)
    ]


def clips_names(paths: Sequence[Path]) -> list[str]:
    """What manifests are called: ``film`` for ``film.jsonl``, ``emoji`` for ``emoji/clips/clips.jsonl``.

    The file's name, or where that is only ``clips``, the nearest folder's that is not. Manifests of one name, or named
    as the built-in world is, get the paths they were given by.
    """
    names = []
    for path in paths:
        words = (path.stem, *(folder.name for folder in path.absolute().parents))
        names.append(next((word for word in words if word not in ("clips", "")), path.stem))
    return [name if ["world", *names].count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


def _manifest_source(manifest: Manifest, name: str, training: TrainingClips, seed: int, excerpt: Excerpt) -> ClipSource:
    held_out = _of_split(manifest, "validation")
    return ClipSource(
        name=name,
        num_clips=len(held_out),
        held_out=lambda: manifest_clips(manifest, held_out, seed, excerpt),
        training=training,
        protocol=(
            f"all {len(held_out)} validation clips of {manifest.path}, first {excerpt.num_frames} frames at most at "
            f"{excerpt.fps:g} fps at most, {excerpt.width}x{excerpt.height} cut from the middle, transparent ones over "
            f"random backgrounds (seed {seed})"
        ),
    )


def _training_clips(manifest: Manifest, seed: int, excerpt: Excerpt) -> TrainingClips | None:
    train = _of_split(manifest, "train")
    if not train:
        return None
    chosen = [train[int(index)] for index in data_order(seed, len(train), 0)[:TRAINING_CLIPS]]
    return TrainingClips(
        num_clips=len(chosen),
        read=lambda: manifest_clips(manifest, chosen, seed, excerpt),
        protocol=f"{len(chosen)} of {len(train)} training clips of {manifest.path}",
    )


def _of_split(manifest: Manifest, split: Split) -> list[Clip]:
    return [clip for clip in manifest.clips if clip.split == split]
