"""Frames to normalised latents and back, by blocks of frames, in constant memory.

Axes: B batch, C channels, T frames or latent frames, H rows, W columns. Sums of floats depend on the shapes of tensors,
so one call over everything and many calls over chunks run the same blocks (and the same tiles of large frames, each
with a cache of its own): the result does not depend on how a caller cuts a video, to the last bit. A VAE that does not
stream, as some published ones, is given the whole video; then memory grows with its length.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Final

import torch
from torch import Tensor

from soracli.core.errors import NumericsError
from soracli.core.latent_spec import LatentSpec
from soracli.models.tiles import TileGrid, Tiling
from soracli.models.video_codec import State, VideoCodec

BLOCK_LATENTS: Final = 4
"""Latent frames encoded or decoded at once, if nothing else is asked for."""


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
    # In place: of a large frame every copy counts.
    levels = (frames[0].float() + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 3, 0).cpu()


def hold_last(chunks: Iterable[Tensor], spec: LatentSpec) -> Iterator[Tensor]:
    """Frames ``(t, H, W, 3)`` in chunks, the last one held until the last latent is full."""
    done, last = 0, None
    for chunk in chunks:
        if len(chunk):
            done, last = done + len(chunk), chunk[-1:]
            yield chunk
    if last is not None:
        missing = spec.video_frames(spec.latent_frames_covering(done)) - done
        if missing:
            yield last.repeat(missing, 1, 1, 1)


@torch.inference_mode()
def encode_stream(
    vae: VideoCodec,
    spec: LatentSpec,
    chunks: Iterable[Tensor],
    device: torch.device,
    *,
    block_latents: int = BLOCK_LATENTS,
    tiling: Tiling | None = None,
) -> Iterator[Tensor]:
    """Encode a video of any length.

    Args:
        vae: The VAE.
        spec: Of its latents.
        chunks: uint8 frames ``(t, H, W, 3)``, any number in each; H and W multiples of the compression.
        device: Where the VAE is.
        block_latents: Latent frames that are computed at once. Others give the same up to the order of sums.
        tiling: How large frames are cut; None computes them whole.

    Yields:
        Normalised latents ``(C, t', H', W')`` on the CPU. Frames at the end that do not fill a latent are dropped.

    Raises:
        UsageError: If H or W does not fit.
        NumericsError: If the VAE gives numbers that are not finite.
    """
    step = spec.compression[0]
    grid: TileGrid | None = None
    caches: list[State] = []
    first, later = 1 + (block_latents - 1) * step, block_latents * step
    for frames in _in_blocks(chunks, _sizes(vae, first, later), 0):
        if grid is None:
            grid = TileGrid(spec.latent_size(*frames.shape[1:3]), tiling)
            caches = [()] * len(grid.tiles)
            usable = 1 + (len(frames) - 1) // step * step
        else:
            usable = len(frames) // step * step
        if usable:
            latents, caches = _encode_block(vae, spec, frames[:usable], caches, grid, device)
            yield latents


def encode_video(
    vae: VideoCodec,
    spec: LatentSpec,
    frames: Tensor,
    device: torch.device,
    *,
    block_latents: int = BLOCK_LATENTS,
    tiling: Tiling | None = None,
) -> Tensor:
    """Normalised latents ``(C, T', H', W')`` of uint8 frames ``(T, H, W, 3)``; see ``encode_stream``."""
    return torch.cat(list(encode_stream(vae, spec, [frames], device, block_latents=block_latents, tiling=tiling)), 1)


@torch.inference_mode()
def decode_frames(
    vae: VideoCodec,
    spec: LatentSpec,
    chunks: Iterable[Tensor],
    device: torch.device,
    *,
    block_latents: int = BLOCK_LATENTS,
    tiling: Tiling | None = None,
) -> Iterator[Tensor]:
    """Decode a video of any length.

    Args:
        vae: The VAE.
        spec: Of its latents.
        chunks: Normalised latents ``(C, t, H', W')``, any number of frames in each.
        device: Where the VAE is.
        block_latents: Latent frames that are computed at once. Others give the same up to the order of sums.
        tiling: How large frames are cut; None computes them whole.

    Yields:
        Frames ``(1, 3, T, H, W)``, about [-1, 1], on the device.

    Raises:
        NumericsError: If the VAE gives numbers that are not finite.
    """
    grid: TileGrid | None = None
    caches: list[State] = []
    for latents in _in_blocks(chunks, _sizes(vae, block_latents, block_latents), 1):
        if grid is None:
            grid = TileGrid(latents.shape[2:], tiling)
            caches = [()] * len(grid.tiles)
        frames, caches = _decode_block(vae, spec, latents, caches, grid, device)
        yield frames


def decode_stream(
    vae: VideoCodec,
    spec: LatentSpec,
    chunks: Iterable[Tensor],
    device: torch.device,
    *,
    block_latents: int = BLOCK_LATENTS,
    tiling: Tiling | None = None,
) -> Iterator[Tensor]:
    """As ``decode_frames``, but yields uint8 ``(T, H, W, 3)`` on the CPU."""
    return map(to_pixels, decode_frames(vae, spec, chunks, device, block_latents=block_latents, tiling=tiling))


def _encode_block(
    vae: VideoCodec, spec: LatentSpec, pixels: Tensor, caches: list[State], grid: TileGrid, device: torch.device
) -> tuple[Tensor, list[State]]:
    dtype, (_, height, width) = next(vae.parameters()).dtype, spec.compression
    after: list[State] = []

    def parts() -> Iterator[Tensor]:
        for (rows, columns), cache in zip(grid.tiles, caches, strict=True):
            window = _plain(pixels[:, rows.slice(height), columns.slice(width)])  # (T, h, w, 3)
            mean, _, cache = vae.encode(to_frames(window.to(device)).to(dtype), cache)
            after.append(cache)
            yield normalise(mean[0].float(), spec).cpu()

    return _finite(grid.join(parts()), "encoder"), after


def _decode_block(
    vae: VideoCodec, spec: LatentSpec, latents: Tensor, caches: list[State], grid: TileGrid, device: torch.device
) -> tuple[Tensor, list[State]]:
    dtype = next(vae.parameters()).dtype
    after: list[State] = []

    def parts() -> Iterator[Tensor]:
        for (rows, columns), cache in zip(grid.tiles, caches, strict=True):
            window = _plain(latents[:, :, rows.slice(), columns.slice()])  # (C, T', h', w')
            raw = denormalise(window[None].to(device), spec).to(dtype)  # (1, C, T', h', w')
            frames, cache = vae.decode(raw, cache)
            after.append(cache)
            yield frames

    return _finite(grid.join(parts(), spec.compression[1:]), "decoder"), after


def _sizes(vae: VideoCodec, first: int, later: int) -> Iterator[int]:
    """Of the blocks that a VAE is given; all there is, if it does not stream."""
    return chain([first], repeat(later)) if vae.streams else repeat(sys.maxsize)


def _in_blocks(chunks: Iterable[Tensor], sizes: Iterator[int], axis: int) -> Iterator[Tensor]:
    """The same frames in blocks of the sizes that are wanted; the last block holds what is left, if anything."""
    waiting: list[Tensor] = []
    wanted = next(sizes)
    for chunk in chunks:
        waiting.append(chunk)
        if sum(part.shape[axis] for part in waiting) < wanted:
            continue
        whole, start = torch.cat(waiting, axis), 0
        while whole.shape[axis] - start >= wanted:
            yield whole.narrow(axis, start, wanted)
            start, wanted = start + wanted, next(sizes)
        # A copy: a view would keep all of a long chunk.
        waiting = [whole.narrow(axis, start, whole.shape[axis] - start).clone()]
    if sum(part.shape[axis] for part in waiting):
        yield torch.cat(waiting, axis)


def _plain(x: Tensor) -> Tensor:
    """A copy laid out one way: what is a part of something larger may take another path through a convolution."""
    return x.clone(memory_format=torch.contiguous_format)


def _finite(x: Tensor, part: str) -> Tensor:
    if not bool(torch.isfinite(x).all()):
        raise NumericsError(
            f"the VAE's {part} gave numbers that are not finite: its training diverged, or its number type is too small"
        )
    return x


def _per_channel(spec: LatentSpec, like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, device=like.device)[:, None, None, None] for values in (spec.mean, spec.std))
    return mean, std
