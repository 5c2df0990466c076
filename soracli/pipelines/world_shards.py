"""Shards of the built-in world: scenes as videos and as pictures, and pairs of scenes before and after an edit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from soracli.core.latent_spec import LatentSpec
from soracli.data.config import WorldEditsConfig, WorldLatentsConfig, WorldScenesConfig
from soracli.data.latents import Tail, shard_name
from soracli.data.world.alt_text import alt_text
from soracli.data.world.captions import caption_scene
from soracli.data.world.edits import draw_edit, edit_facts, edit_frames, instruct
from soracli.data.world.grammar import sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.shard_jobs import Job, Made, draw_tail, encode_to_store

World = TypeVar("World", bound=WorldScenesConfig)
_SHARD_VIDEOS, _SHARD_IMAGES = 16, 256
_CONTACT_SECONDS = 4.0


def world_jobs(world: WorldLatentsConfig, vae: VideoCodec, spec: LatentSpec, device: torch.device) -> list[Job]:
    """Shards of scenes with their captions, in order."""
    return _jobs("world", world, _world_maker, vae, spec, device)


def edit_jobs(world: WorldEditsConfig, vae: VideoCodec, spec: LatentSpec, device: torch.device) -> list[Job]:
    """Shards of pairs before and after an edit, with its instructions, in order."""
    return _jobs("world_edits", world, _edits_maker, vae, spec, device)


def world_shapes(world: World) -> list[World]:
    """The world once for each of its shapes, which stands in ``seconds``, ``fps``, ``height`` and ``width``."""
    return [world.model_copy(update=shape.model_dump(exclude={"weight"})) for shape in world.shapes] or [world]


def deal_scenes(world: WorldScenesConfig, numbers: range) -> list[list[int]]:
    """Which scenes each shape gets: each scene goes where most is missing from the shares that the weights give.

    So the shares are kept as closely as whole scenes can, and more scenes leave those before where they are.
    """
    weights = [shape.weight for shape in world.shapes] or [1.0]
    dealt: list[list[int]] = [[] for _ in weights]
    for place, number in enumerate(numbers):
        missing = [weight / sum(weights) * (place + 1) - len(part) for weight, part in zip(weights, dealt, strict=True)]
        dealt[missing.index(max(missing))].append(number)
    return dealt


def _frame_times(world: WorldScenesConfig, images: bool, spec: LatentSpec) -> Tensor:
    """Seconds of each frame of a video that fills its latents, or of a picture."""
    wanted = 1 if images else spec.num_frames_for(world.seconds, world.fps)
    if world.stills:
        return torch.arange(wanted) / world.fps
    return torch.arange(spec.video_frames(1 + (wanted - 1) // spec.compression[0])) / world.fps


def _undescribed(world: WorldScenesConfig) -> set[str]:
    """Keys that do not decide what is in a shard, as what they turn on is off."""
    off = {name for name in ("originals", "tails", "stills") if not getattr(world, name, False)}
    return {"videos", "images", "shapes"} | off | ({"alt_text"} if "originals" in off else set())


def _encode(
    vae: VideoCodec, spec: LatentSpec, frames: Tensor, world: WorldScenesConfig, device: torch.device
) -> Tensor:
    """As one video, or every frame by itself."""
    parts = frames.split(1) if world.stills else [frames]
    return torch.cat([encode_to_store(vae, spec, part, device) for part in parts], 1)


def _jobs(
    section: str,
    world: World,
    maker: Callable[[World, Sequence[int], bool, VideoCodec, LatentSpec, torch.device], Callable[[], Made]],
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
        tails: dict[int, Tail] = {}
        for row, scene in enumerate(scenes):
            drawn = render_scene(scene, path.position[row].to(device), times.to(device), world.height, world.width)
            cut = random.Random(f"cut {world.seed} {scene.index}")
            if world.tails and not world.stills and (tail := draw_tail(vae, spec, drawn.frames, cut, device)):
                tails[row] = tail
            latents.append(_encode(vae, spec, drawn.frames, world, device))
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
            records.append(record | ({"stills": True} if world.stills else {}))
        return latents, records, [], tails

    return make


def _edits_maker(
    world: WorldEditsConfig,
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
            sources.append(_encode(vae, spec, before, world, device))
            latents.append(_encode(vae, spec, after, world, device))
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
                    **({"stills": True} if world.stills else {}),
                }
            )
        return latents, records, sources, {}

    return make
