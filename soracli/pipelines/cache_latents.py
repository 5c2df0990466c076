"""``sora latents cache``: scenes and clips through the VAE, into shards that are made once.

The work is a list of shards, each named by what decides its content. What is there is skipped, so the same call goes
on where it stopped; array tasks and ranks each take every n-th shard and the last one to finish writes the index. Two
calls at once on one cache share the work: what one is making the other leaves to it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import torch

from soracli.core.errors import DataError, Stopped, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.latents import has_shard, write_index, write_shard
from soracli.data.manifest import read_manifest
from soracli.data.shard_claims import claimed, open_claims
from soracli.models.store import load_vae
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.clip_shards import clip_jobs
from soracli.pipelines.recipes import LatentsCacheRecipe
from soracli.pipelines.shard_jobs import Job
from soracli.pipelines.world_shards import edit_jobs, world_jobs, world_shapes
from soracli.training.device import choose_device
from soracli.training.ranks import work_share
from soracli.training.run_folder import write_stopped
from soracli.training.signals import StopFlag, signal_name, stop_on_signals

_LOOK_SECONDS = 0.2
"""Between two looks at what another process makes."""


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
    _tell_what_is_there(out, jobs, reporter)
    with (
        stop_on_signals() as flag,
        open_claims(out) as claims,
        reporter.task("latents cache", sum(job.count for job in mine), "clip") as task,
    ):
        waiting = mine
        while waiting:
            elsewhere = []
            for job in waiting:
                if _make(out, job, claims):
                    task.advance(job.count)
                else:
                    elsewhere.append(job)
                _check_stop(flag, out)
            waiting = elsewhere  # another process makes them; if it dies, we do
            if waiting:
                time.sleep(_LOOK_SECONDS)
    missing = [job.name for job in jobs if not has_shard(out, job.name)]
    if missing:
        raise Stopped(
            f"{len(missing)} of {len(jobs)} shards are left to the other tasks; the last one writes the index"
        )
    write_index(out, spec, [job.name for job in jobs], {"recipe": recipe.model_dump(mode="json")})
    return out


def _make(out: Path, job: Job, claims: TextIO) -> bool:
    """Make a shard if it is missing; False if another process is making it."""
    if has_shard(out, job.name):
        return True
    with claimed(claims, job.name) as is_ours:
        if is_ours and not has_shard(out, job.name):
            write_shard(out, job.name, *job.make())
        return is_ours


def _check_stop(flag: StopFlag, out: Path) -> None:
    if flag:
        reason = signal_name(flag.level) or ""
        if element := os.environ.get("SLURM_ARRAY_TASK_ID"):
            write_stopped(out, reason, element)
        raise Stopped(f"{reason}: every finished shard is kept; the same command goes on")


def _tell_what_is_there(out: Path, jobs: Sequence[Job], reporter: Reporter) -> None:
    """How much is left to do, and how much is there that these settings do not use."""
    wanted = {job.name for job in jobs}
    there = {path.stem for path in (out / "shards").glob("*.json") if has_shard(out, path.stem)}
    if there & wanted:
        reporter.note(f"{len(there & wanted)} of {len(wanted)} shards are there already")
    if there - wanted:
        reporter.note(f"{len(there - wanted)} shards in {out} were made with other settings and are not used")


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
    jobs = world_jobs(recipe.world, vae, spec, device)
    if clips is not None:
        jobs += clip_jobs(recipe.clips, read_manifest(clips), vae, spec, device, reporter)
    return jobs + edit_jobs(recipe.world_edits, vae, spec, device)
