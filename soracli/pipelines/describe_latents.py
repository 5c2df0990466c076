"""``sora latents show``: how much of what is in a cache, and the mean and deviation of its latents as measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from soracli.core.errors import ArtifactError
from soracli.data.latents import Entry, LatentCache

_CAPTIONS = 5
_BYTES_PER_NUMBER = 2


@dataclass(frozen=True)
class SourceSummary:
    """What came from one source.

    Attributes:
        videos: Entries with more than one latent frame.
        seconds: Their length together.
        images: Entries with one.
        num_bytes: Of the latents of both, with what they are edits of and their tails.
    """

    videos: int
    seconds: float
    images: int
    num_bytes: int


@dataclass(frozen=True)
class CacheSummary:
    """What is in a cache.

    Attributes:
        folder: Where it is.
        spec: ``LatentSpec`` as plain values.
        entries: Videos and images.
        shards: Files they are in.
        file_bytes: Of all files.
        sources: By source.
        mean: Of each channel over everything cached; about 0.
        std: Of each channel; about 1.
        captions: A few, evenly chosen.
    """

    folder: Path
    spec: Mapping[str, Any]
    entries: int
    shards: int
    file_bytes: int
    sources: Mapping[str, SourceSummary]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    captions: tuple[str, ...]


def describe_latents(folder: Path) -> CacheSummary:
    """Read a cache, a shard at a time.

    Raises:
        ArtifactError: If it is missing, unfinished or damaged.
    """
    cache = LatentCache(folder)
    shards = list(dict.fromkeys(entry.shard for entry in cache.entries))
    files = [folder / "shards" / f"{name}.{suffix}" for name in shards for suffix in ("safetensors", "json")]
    mean, std = _moments([path for path in files if path.suffix == ".safetensors"], cache.spec.channels)
    names = sorted({entry.source for entry in cache.entries})
    captions = [entry.captions[0] for entry in cache.entries if entry.captions]
    return CacheSummary(
        folder=folder,
        spec=cache.spec.to_dict(),
        entries=len(cache.entries),
        shards=len(shards),
        file_bytes=sum(path.stat().st_size for path in files if path.is_file()),
        sources={
            name: _source([entry for entry in cache.entries if entry.source == name], cache.spec.compression[0])
            for name in names
        },
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        captions=tuple(captions[:: max(1, len(captions) // _CAPTIONS)][:_CAPTIONS]),
    )


def _source(entries: Sequence[Entry], frames_per_latent: int) -> SourceSummary:
    videos = [entry for entry in entries if entry.shape[1] > 1]
    return SourceSummary(
        videos=len(videos),
        seconds=sum(_num_frames(entry, frames_per_latent) / entry.fps for entry in videos),
        images=len(entries) - len(videos),
        num_bytes=_BYTES_PER_NUMBER * sum(_num_values(entry) for entry in entries),
    )


def _num_frames(entry: Entry, frames_per_latent: int) -> int:
    return entry.shape[1] if entry.stills else 1 + (entry.shape[1] - 1) * frames_per_latent


def _num_values(entry: Entry) -> int:
    channels, num_latents, rows, columns = entry.shape
    return channels * (num_latents * (1 + entry.paired) + entry.tail) * rows * columns


def _moments(files: Sequence[Path], channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation ``(C,)`` over all latents of all files."""
    count, total, squares = 0, torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    for path in files:
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ArtifactError(
                f"{path} is missing or damaged ({error}): remove it and run sora latents cache again"
            ) from error
        for latents in tensors.values():
            if latents.ndim != 4 or latents.shape[0] != channels or not latents.is_floating_point():
                raise ArtifactError(f"{path} holds no latents: remove it and run sora latents cache again")
            values = latents.double().flatten(1)  # (C, N)
            count += values.shape[1]
            total += values.sum(1)
            squares += values.square().sum(1)
    mean = total / max(1, count)
    return mean, (squares / max(1, count) - mean.square()).clamp(min=0).sqrt()
