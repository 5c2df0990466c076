"""``sora latents cache --dry-run``: what a call would cache, checked and counted without encoding anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from soracli.core.errors import DataError
from soracli.core.latent_spec import LatentSpec
from soracli.core.progress import SilentReporter
from soracli.data.config import ClipLatentsConfig, WorldScenesConfig
from soracli.data.latents import has_shard
from soracli.data.manifest import Clip, read_manifest
from soracli.models.store import load_vae
from soracli.pipelines.cache_latents import plan_jobs
from soracli.pipelines.clip_shards import native_size
from soracli.pipelines.recipes import LatentsCacheRecipe
from soracli.pipelines.world_shards import deal_scenes, world_shapes
from soracli.training.device import choose_device

_BYTES_PER_NUMBER = 2


@dataclass(frozen=True, kw_only=True)
class LatentsPlan:
    """What a cache would be.

    Attributes:
        vae: Folder of the VAE.
        channels: Numbers per latent position.
        compression: Frames, rows and columns of pixels per latent position.
        world_videos: Scenes of the world as videos.
        world_images: Scenes of the world as pictures.
        edit_videos: Pairs of scenes, before and after an edit, as videos.
        edit_images: Such pairs as pictures.
        clips: Training clips of the manifest.
        num_bytes: Of all latents, about.
        shards: Files they are kept in.
        shards_made: How many of those are there already.
        device: Where it would compute.
        out: The cache's folder.
    """

    vae: str
    channels: int
    compression: tuple[int, int, int]
    world_videos: int
    world_images: int
    edit_videos: int
    edit_images: int
    clips: int
    num_bytes: int
    shards: int
    shards_made: int
    device: str
    out: str


def plan_latents(
    recipe: LatentsCacheRecipe, *, vae: Path, clips: Path | None, out: Path, device: str = "auto"
) -> LatentsPlan:
    """Check what ``cache_latents`` checks before it begins, and count.

    Raises:
        SoraError: For anything that would stop it at its start.
    """
    place = choose_device(device)
    model, spec = load_vae(vae, place)
    jobs = plan_jobs(recipe, model, spec, clips, place, SilentReporter())
    if not jobs:
        raise DataError("nothing to cache: videos and images of world and world_edits are 0 and no --clips was given")
    world, edits = recipe.world, recipe.world_edits
    chosen = [] if clips is None else [clip for clip in read_manifest(clips).clips if clip.split == "train"]
    positions = _world_positions(world, spec) + 2 * _world_positions(edits, spec)
    positions += sum(_clip_positions(clip, recipe.clips, spec) for clip in chosen)
    return LatentsPlan(
        vae=str(vae),
        channels=spec.channels,
        compression=spec.compression,
        world_videos=world.videos,
        world_images=world.images,
        edit_videos=edits.videos,
        edit_images=edits.images,
        clips=len(chosen),
        num_bytes=positions * spec.channels * _BYTES_PER_NUMBER,
        shards=len(jobs),
        shards_made=sum(has_shard(out, job.name) for job in jobs),
        device=str(place),
        out=str(out),
    )


def _world_positions(world: WorldScenesConfig, spec: LatentSpec) -> int:
    videos, images = deal_scenes(world, range(world.videos)), deal_scenes(world, range(world.images))
    total = 0
    for shape, moving, still in zip(world_shapes(world), videos, images, strict=True):
        frames = spec.num_frames_for(shape.seconds, shape.fps)
        length = frames if shape.stills else 1 + (frames - 1) // spec.compression[0]
        if moving or still:
            total += (length * len(moving) + len(still)) * math.prod(spec.latent_size(shape.height, shape.width))
    return total


def _clip_positions(clip: Clip, config: ClipLatentsConfig, spec: LatentSpec) -> int:
    frames = max(1, round(clip.seconds * min(config.fps, clip.fps)))
    rows, columns = spec.latent_size(*native_size(clip.height, clip.width, config))
    return spec.latent_frames_covering(frames) * rows * columns
