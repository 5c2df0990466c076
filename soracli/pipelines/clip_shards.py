"""Shards of a manifest's clips, each clip at its own size, length and rate."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soracli.core.errors import DataError, NumericsError
from soracli.core.files import sha256_file
from soracli.core.latent_spec import LatentSpec
from soracli.core.progress import Reporter
from soracli.data.config import ClipLatentsConfig
from soracli.data.ffmpeg import checked_file
from soracli.data.latents import Tail, shard_name
from soracli.data.manifest import Clip, Manifest
from soracli.data.video_read import read_frames
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.shard_jobs import Job, Made, draw_tail, encode_to_store

_SHARD_CLIPS = 16


def clip_jobs(
    config: ClipLatentsConfig,
    manifest: Manifest,
    vae: VideoCodec,
    spec: LatentSpec,
    device: torch.device,
    reporter: Reporter,
) -> list[Job]:
    """Shards of the clips that are for training, in order."""
    chosen = [clip for clip in manifest.clips if clip.split == "train"]
    jobs = []
    for start in range(0, len(chosen), _SHARD_CLIPS):
        part = chosen[start : start + _SHARD_CLIPS]
        read = config.model_dump(mode="json", exclude=_undescribed(config))
        described = {"clips": [_texts(clip) for clip in part], "read": read}
        make = _clip_maker(config, manifest, part, vae, spec, device, reporter)
        jobs.append(Job(shard_name(spec, described), len(part), make))
    return jobs


def native_size(height: int, width: int, config: ClipLatentsConfig) -> tuple[int, int]:
    """The size a clip is read at: its own aspect, about ``max_pixels``, sides multiples of ``side_multiple``.

    A clip is never enlarged beyond its own size, and no side is under one multiple.
    """
    scale = min(1.0, (config.max_pixels / (height * width)) ** 0.5)
    unit = config.side_multiple
    return max(unit, round(height * scale / unit) * unit), max(unit, round(width * scale / unit) * unit)


def _undescribed(config: ClipLatentsConfig) -> set[str]:
    """Keys that do not decide what is in a shard."""
    return set() if config.tails else {"tails"}


def _texts(clip: Clip) -> list[str]:
    return [clip.clip_id, clip.caption, *filter(None, [clip.original_caption])]


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
        latents: list[Tensor] = []
        records: list[dict[str, Any]] = []
        tails: dict[int, Tail] = {}
        hashes: dict[str, str] = {}
        for clip in clips:
            rate = min(config.fps, clip.fps)
            wanted = max(1, int(clip.seconds * rate + 1e-6))  # 29 frames at 25 fps are 28.999999999999996
            try:
                path = _unchanged(manifest, clip, hashes)
                frames = read_frames(
                    path,
                    start=clip.start,
                    num_frames=spec.video_frames(1 + (wanted - 1) // spec.compression[0]),
                    fps=rate,
                    size=native_size(clip.height, clip.width, config),
                    background=config.background,
                )
                video = torch.from_numpy(frames)
                encoded = encode_to_store(vae, spec, video, device)
                rng = random.Random(f"cut {clip.clip_id}")
                tail = draw_tail(vae, spec, video, rng, device) if config.tails else None
            except DataError as error:
                reporter.note(f"left out: {error}")
                continue
            except NumericsError as error:
                reporter.note(f"left out: {clip.original_name}: {error}")
                continue
            if tail is not None:
                tails[len(latents)] = tail
            latents.append(encoded)
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
        return latents, records, [], tails

    return make


def _unchanged(manifest: Manifest, clip: Clip, hashes: dict[str, str]) -> Path:
    """The file of a clip, if it still holds what was indexed: the shard is named after that.

    Raises:
        DataError: If it does not, or cannot be read.
    """
    path = checked_file(manifest.locate(clip))
    try:
        found = hashes.get(clip.path) or hashes.setdefault(clip.path, sha256_file(path))
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if found != clip.sha256:
        raise DataError(f"{path}: has changed since it was indexed; run sora clips index again")
    return path
