"""Frames to normalised latents and back, by blocks of frames, in constant memory.

Axes: B batch, C channels, T frames or latent frames, H rows, W columns. One call over everything and many calls over
chunks run the same blocks, so the result does not depend on how a caller cuts a video. A VAE that does not stream, as
some published ones, is given the whole video; then memory grows with its length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from soracli.core.latent_spec import LatentSpec
from soracli.models.video_codec import State, VideoCodec

_BLOCK_LATENTS = 4
"""Latent frames encoded or decoded at once."""


def normalise(latents: Tensor, spec: LatentSpec) -> Tensor:
    """Raw latents ``(..., C, T, H, W)`` to zero mean and unit deviation per channel."""
    mean, std = _per_channel(spec, latents)
    return (latents - mean) / std


def denormalise(latents: Tensor, spec: LatentSpec) -> Tensor:
    """Undo ``normalise``."""
    mean, std = _per_channel(spec, latents)
    return latents * std + mean


def to_frames(pixels: Tensor) -> Tensor:
    """uint8 ``(T, H, W, 3)`` to ``(1, 3, T, H, W)`` in [-1, 1]."""
    return pixels.permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def to_pixels(frames: Tensor) -> Tensor:
    """``(1, 3, T, H, W)`` to uint8 ``(T, H, W, 3)`` on the CPU."""
    levels = ((frames[0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 3, 0).cpu()


@torch.inference_mode()
def encode_stream(
    vae: VideoCodec, spec: LatentSpec, chunks: Iterable[Tensor], device: torch.device
) -> Iterator[Tensor]:
    """Encode a video of any length.

    Args:
        vae: The VAE.
        spec: Of its latents.
        chunks: uint8 frames ``(t, H, W, 3)``, any number in each.
        device: Where the VAE is.

    Yields:
        Normalised latents ``(C, t', H', W')`` on the CPU. Frames at the end that do not fill a latent are dropped.
    """
    step = spec.compression[0]
    cache: State = ()
    waiting: list[Tensor] = []
    for chunk in chunks:
        waiting.append(chunk)
        block = _BLOCK_LATENTS * step if cache else 1 + (_BLOCK_LATENTS - 1) * step
        if not vae.streams or sum(map(len, waiting)) < block:
            continue
        frames = torch.cat(waiting)
        while len(frames) >= block:
            latents, cache = _encode_block(vae, spec, frames[:block], cache, device)
            yield latents
            frames, block = frames[block:], _BLOCK_LATENTS * step
        waiting = [frames]
    rest = sum(map(len, waiting))
    usable = rest // step * step if cache else 1 + (rest - 1) // step * step
    if usable > 0:
        yield _encode_block(vae, spec, torch.cat(waiting)[:usable], cache, device)[0]


def encode_video(vae: VideoCodec, spec: LatentSpec, frames: Tensor, device: torch.device) -> Tensor:
    """Normalised latents ``(C, T', H', W')`` of uint8 frames ``(T, H, W, 3)``."""
    return torch.cat(list(encode_stream(vae, spec, [frames], device)), 1)


@torch.inference_mode()
def decode_block(vae: VideoCodec, spec: LatentSpec, latents: Tensor, cache: State) -> tuple[Tensor, State]:
    """Decode the next latents of a video.

    Args:
        vae: The VAE.
        spec: Of its latents.
        latents: Normalised float32 ``(C, t, H', W')``, on the VAE's device; its weights may be of another type.
        cache: Of the call before, empty at the start.

    Returns:
        uint8 frames ``(T, H, W, 3)`` on the CPU, and the cache for the next call.
    """
    dtype = next(vae.parameters()).dtype
    frames, cache = vae.decode(denormalise(latents[None], spec).to(dtype), cache)
    return to_pixels(frames), cache


def decode_blocks(vae: VideoCodec, spec: LatentSpec, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Decode a video block by block, as its latents are made.

    Args:
        vae: The VAE.
        spec: Of its latents.
        blocks: As for ``decode_block``, in order.

    Yields:
        uint8 frames ``(T, H, W, 3)`` on the CPU: of each block, or all at the end from a VAE that does not stream.
    """
    cache: State = ()
    for latents in blocks if vae.streams else [torch.cat(list(blocks), 1)]:
        frames, cache = decode_block(vae, spec, latents, cache)
        yield frames


def _encode_block(
    vae: VideoCodec, spec: LatentSpec, pixels: Tensor, cache: State, device: torch.device
) -> tuple[Tensor, State]:
    mean, _, cache = vae.encode(to_frames(pixels.to(device)), cache)
    return normalise(mean, spec)[0].cpu(), cache


def _per_channel(spec: LatentSpec, like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, device=like.device)[:, None, None, None] for values in (spec.mean, spec.std))
    return mean, std
