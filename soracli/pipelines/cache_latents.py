"""``sora latents cache``: scenes and clips through the VAE, into shards that are made once.

The work is a list of shards, each named by what decides its content. What is there is skipped, so the same call goes
on where it stopped; array tasks and ranks each take every n-th shard and the last one to finish writes the index.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soracli.core.errors import DataError, Stopped, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.config import ClipLatentsConfig, WorldLatentsConfig
from soracli.data.latents import has_shard, shard_name, write_index, write_shard
from soracli.data.manifest import Clip, Manifest, read_manifest
from soracli.data.video_read import read_frames
from soracli.data.world.alt_text import alt_text
from soracli.data.world.captions import caption_scene
from soracli.data.world.edits import draw_edit, edit_facts, edit_frames, instruct
from soracli.data.world.grammar import sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from soracli.models.codec import encode_video
from soracli.models.store import load_vae
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.recipes import LatentsCacheRecipe
from soracli.training.device import choose_device
from soracli.training.ranks import work_share
from soracli.training.signals import signal_name, stop_on_signals

_SHARD_VIDEOS, _SHARD_IMAGES, _SHARD_CLIPS = 16, 256, 16
_CONTACT_SECONDS = 4.0

Made = tuple[list[Tensor], list[dict[str, Any]], list[Tensor]]
"""Latents, their records, and what they are edits of: none, or one for each."""


@dataclass(frozen=True)
class Job:
    """One shard to make.

    Attributes:
        name: Of the shard.
        count: Videos and images in it.
        make: Makes latents and their records; a clip that cannot be read is left out.
    """

    name: str
    count: int
    make: Callable[[], Made]


def cache_latents(
    recipe: LatentsCacheRecipe,
    *,
    vae: Path,
    clips: Path | None,
    out: Path,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Encode everything the recipe names.

    Args:
        recipe: What to cache.
        vae: A VAE's folder, a model folder or a finished run.
        clips: Manifest of clips, if any.
        out: The cache's folder; may hold shards of earlier calls.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``.

    Raises:
        Stopped: After a stop on request, or when other array tasks still have shards to make.
        SoraError: For anything a user can put right.
    """
    reporter = reporter or SilentReporter()
    place = choose_device(device)
    model, spec = load_vae(vae, place)
    jobs = plan_jobs(recipe, model, spec, clips, place, reporter)
    if not jobs:
        raise DataError("nothing to cache: videos and images of world and world_edits are 0 and no --clips was given")
    task_index, task_count = work_share(os.environ)
    mine = jobs[task_index::task_count]
    with stop_on_signals() as flag, reporter.task("latents cache", sum(job.count for job in mine), "clip") as task:
        for job in mine:
            if not has_shard(out, job.name):
                write_shard(out, job.name, *job.make())
            task.advance(job.count)
            if flag:
                raise Stopped(f"{signal_name(flag.level)}: every finished shard is kept; the same command goes on")
    missing = [job.name for job in jobs if not has_shard(out, job.name)]
    if missing:
        raise Stopped(
            f"{len(missing)} of {len(jobs)} shards are left to the other tasks; the last one writes the index"
        )
    write_index(out, spec, [job.name for job in jobs], {"recipe": recipe.model_dump(mode="json")})
    return out


def plan_jobs(
    recipe: LatentsCacheRecipe,
    vae: VideoCodec,
    spec: LatentSpec,
    clips: Path | None,
    device: torch.device,
    reporter: Reporter,
) -> list[Job]:
    """All shards of a cache, in order.

    Raises:
        UsageError: If a size of the recipe does not fit the VAE; names the nearest that does.
        DataError: If the manifest cannot be read.
    """
    for world in (recipe.world, recipe.world_edits):
        if world.videos or world.images:
            for shape in world_shapes(world):
                spec.latent_size(shape.height, shape.width)
    unit = math.lcm(*spec.compression[1:])
    if clips is not None and recipe.clips.side_multiple % unit:
        near = max(1, round(recipe.clips.side_multiple / unit)) * unit
        raise UsageError(f"clips.side_multiple = {recipe.clips.side_multiple} does not fit the VAE: use {near}")
    jobs = _world_jobs("world", recipe.world, _world_maker, vae, spec, device)
    if clips is not None:
        manifest = read_manifest(clips)
        chosen = [clip for clip in manifest.clips if clip.split == "train"]
        for start in range(0, len(chosen), _SHARD_CLIPS):
            part = chosen[start : start + _SHARD_CLIPS]
            name = shard_name(
                spec,
                {
                    "clips": [_texts(clip) for clip in part],
                    "read": recipe.clips.model_dump(mode="json"),
                },
            )
            jobs.append(Job(name, len(part), _clip_maker(recipe.clips, manifest, part, vae, spec, device, reporter)))
    return jobs + _world_jobs("world_edits", recipe.world_edits, _edits_maker, vae, spec, device)


def _world_jobs(
    section: str,
    world: WorldLatentsConfig,
    maker: Callable[..., Callable[[], Made]],
    vae: VideoCodec,
    spec: LatentSpec,
    device: torch.device,
) -> list[Job]:
    """Shards of videos, then of pictures, each of one shape."""
    jobs = []
    for kind, first, count, size in (
        ("videos", 0, world.videos, _SHARD_VIDEOS),
        ("images", world.videos, world.images, _SHARD_IMAGES),
    ):
        for one, mine in zip(world_shapes(world), deal_scenes(world, range(first, first + count)), strict=True):
            for start in range(0, len(mine), size):
                numbers = mine[start : start + size]
                described = {
                    section: one.model_dump(mode="json", exclude=_undescribed(one)),
                    "kind": kind,
                    "scenes": numbers,
                }
                make = maker(one, numbers, kind == "images", vae, spec, device)
                jobs.append(Job(shard_name(spec, described), len(numbers), make))
    return jobs


def world_shapes(world: WorldLatentsConfig) -> list[WorldLatentsConfig]:
    """The world once for each of its shapes, which stands in ``seconds``, ``fps``, ``height`` and ``width``."""
    return [world.model_copy(update=shape.model_dump(exclude={"weight"})) for shape in world.shapes] or [world]


def deal_scenes(world: WorldLatentsConfig, numbers: range) -> list[list[int]]:
    """Which scenes each shape gets: each scene goes where most is missing from the shares that the weights give.

    So the shares are kept as closely as whole scenes can, and more scenes leave those before where they are.
    """
    weights = [shape.weight for shape in world.shapes] or [1.0]
    dealt: list[list[int]] = [[] for _ in weights]
    for place, number in enumerate(numbers):
        missing = [weight / sum(weights) * (place + 1) - len(part) for weight, part in zip(weights, dealt, strict=True)]
        dealt[missing.index(max(missing))].append(number)
    return dealt


def _frame_times(world: WorldLatentsConfig, images: bool, spec: LatentSpec) -> Tensor:
    """Seconds of each frame of a video that fills its latents, or of a picture."""
    wanted = 1 if images else spec.num_frames_for(world.seconds, world.fps)
    return torch.arange(spec.video_frames(1 + (wanted - 1) // spec.compression[0])) / world.fps


def _undescribed(world: WorldLatentsConfig) -> set[str]:
    """Keys that do not decide what is in a shard; those of originals do only where there are some."""
    return {"videos", "images", "shapes"} | (set() if world.originals else {"originals", "alt_text"})


def _texts(clip: Clip) -> list[str]:
    return [clip.clip_id, clip.caption, *filter(None, [clip.original_caption])]


def _world_maker(
    world: WorldLatentsConfig,
    numbers: Sequence[int],
    images: bool,
    vae: VideoCodec,
    spec: LatentSpec,
    device: torch.device,
) -> Callable[[], Made]:
    def make() -> Made:
        scenes = [sample_scene(world.seed, number) for number in numbers]
        times = _frame_times(world, images, spec)
        path = simulate(scenes, times)
        latents, records = [], []
        for row, scene in enumerate(scenes):
            drawn = render_scene(scene, path.position[row].to(device), times.to(device), world.height, world.width)
            latents.append(encode_video(vae, spec, drawn.frames, device))
            seen = min(len(times) - 1, round(_CONTACT_SECONDS * world.fps))
            rng = random.Random(f"captions {world.seed} {scene.index}")
            contact = bool(path.contact[row, seen] > 0)
            half = world.captions // 2
            styles = ["long"] * half + ["short"] * (world.captions - half)
            captions = [
                caption_scene(scene, style=style, moving=True, rng=rng, contact=contact)  # type: ignore[arg-type]
                for style in styles
            ]
            still = [caption_scene(scene, style=style, moving=False, rng=rng) for style in styles]  # type: ignore[arg-type]
            record = {
                "source": "world",
                "name": f"world {world.seed} scene {scene.index}",
                "fps": world.fps,
                "captions": still if images else captions,
                "still_captions": still,
            }
            if world.originals:
                found, still_found = (
                    [alt_text(scene, world.alt_text, moving=moving, rng=rng) for _ in range(world.originals)]
                    for moving in (True, False)
                )
                record |= {"originals": still_found if images else found, "still_originals": still_found}
            records.append(record)
        return latents, records, []

    return make


def _edits_maker(
    world: WorldLatentsConfig,
    numbers: Sequence[int],
    images: bool,
    vae: VideoCodec,
    spec: LatentSpec,
    device: torch.device,
) -> Callable[[], Made]:
    def make() -> Made:
        times = _frame_times(world, images, spec)
        seconds = 0.0 if images else world.seconds
        latents: list[Tensor] = []
        records: list[dict[str, Any]] = []
        sources: list[Tensor] = []
        for number in numbers:
            edit = draw_edit(world.seed, number, seconds=seconds)
            before, after = edit_frames(edit, times, world.height, world.width, device=device)
            sources.append(encode_video(vae, spec, before, device))
            latents.append(encode_video(vae, spec, after, device))
            rng = random.Random(f"instructions {world.seed} {number}")
            moving = [instruct(edit, rng, moving=not images) for _ in range(world.captions)]
            still = [instruct(edit, rng, moving=False) for _ in range(world.captions)] if edit.shows_at_once else []
            records.append(
                {
                    "source": "world_edits",
                    "name": f"world {world.seed} edit {number}",
                    "fps": world.fps,
                    "captions": still if images else moving,
                    "still_captions": still,
                    "edit": edit_facts(edit),
                    **({"whole": True} if edit.is_reversed else {}),
                }
            )
        return latents, records, sources

    return make


def _clip_maker(
    config: ClipLatentsConfig,
    manifest: Manifest,
    clips: Sequence[Clip],
    vae: VideoCodec,
    spec: LatentSpec,
    device: torch.device,
    reporter: Reporter,
) -> Callable[[], Made]:
    def make() -> Made:
        latents, records = [], []
        for clip in clips:
            rate = min(config.fps, clip.fps)
            wanted = max(1, int(clip.seconds * rate + 1e-6))  # 29 frames at 25 fps are 28.999999999999996
            try:
                frames = read_frames(
                    manifest.locate(clip),
                    start=clip.start,
                    num_frames=spec.video_frames(1 + (wanted - 1) // spec.compression[0]),
                    fps=rate,
                    size=native_size(clip.height, clip.width, config),
                    background=config.background,
                )
            except DataError as error:
                reporter.note(f"left out: {error}")
                continue
            latents.append(encode_video(vae, spec, torch.from_numpy(frames), device))
            captions = [clip.caption] if clip.caption else []
            record = {
                "source": "clips",
                "name": clip.original_name,
                "fps": rate,
                "captions": captions,
                "still_captions": captions,
            }
            if clip.original_caption:
                record |= {key: [clip.original_caption] for key in ("originals", "still_originals")}
            records.append(record)
        return latents, records, []

    return make


def native_size(height: int, width: int, config: ClipLatentsConfig) -> tuple[int, int]:
    """The size a clip is read at: its own aspect, about ``max_pixels``, sides multiples of ``side_multiple``.

    A clip is never enlarged beyond its own size, and no side is under one multiple.
    """
    scale = min(1.0, (config.max_pixels / (height * width)) ** 0.5)
    unit = config.side_multiple
    return max(unit, round(height * scale / unit) * unit), max(unit, round(width * scale / unit) * unit)
