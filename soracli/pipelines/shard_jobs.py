"""What there is to cache: shards, each named by what decides its content, made when they are missing."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from soracli.core.errors import NumericsError
from soracli.core.latent_spec import LatentSpec
from soracli.data.latents import Tail
from soracli.models.codec import encode_video
from soracli.models.video_codec import VideoCodec

Made = tuple[list[Tensor], list[dict[str, Any]], list[Tensor], dict[int, Tail]]
"""Latents, their records, what they are edits of (none, or one for each), and tails by number."""
_TAIL = 5


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


def encode_to_store(vae: VideoCodec, spec: LatentSpec, frames: Tensor, device: torch.device) -> Tensor:
    """Latents ``(C, T', H', W')`` of uint8 frames ``(T, H, W, 3)`` in float16, as they are stored.

    Raises:
        NumericsError: If the VAE gives numbers that are not finite, or too large for float16.
    """
    latents = encode_video(vae, spec, frames, device).half()
    if not bool(torch.isfinite(latents).all()):
        raise NumericsError("the VAE's encoder gave numbers that are too large for float16: its training diverged")
    return latents


def draw_tail(
    vae: VideoCodec, spec: LatentSpec, frames: Tensor, rng: random.Random, device: torch.device
) -> Tail | None:
    """Cut a video between two latents and encode some latents of what follows as a video of its own.

    Args:
        vae: A VAE.
        spec: Of its latents.
        frames: ``(T, H, W, 3)`` uint8 that fill their latents.
        rng: Decides where.
        device: Where to compute.

    Returns:
        None if there is no place to cut.
    """
    num_latents = spec.latent_frames(len(frames))
    if num_latents < 2:
        return None
    after = rng.randint(1, num_latents - 1)
    rest = frames[spec.video_frames(after) :]
    wanted = min(_TAIL, 1 + (len(rest) - 1) // spec.compression[0])
    return Tail(after, encode_to_store(vae, spec, rest[: spec.video_frames(wanted)], device))
