"""What tiles cost that overlap by less than a VAE sees: measured where they meet, against a window that sees all of it.

Axes: C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.core.latent_spec import LatentSpec
from soracli.models.codec import decode_frames, encode_video
from soracli.models.tiles import Span, TileGrid, Tiling
from soracli.models.video_codec import VideoCodec


@dataclass(frozen=True)
class SeamError:
    """Differences between tiles and whole frames where tiles meet.

    Attributes:
        largest: Of all.
        rms: Their root mean square.
    """

    largest: float
    rms: float


def encoding_error(
    vae: VideoCodec, spec: LatentSpec, pixels: Tensor, device: torch.device, *, block_latents: int, tiling: Tiling
) -> SeamError:
    """The error of encoding ``(T, H, W, 3)`` uint8 frames in tiles, in normalised latents (deviation 1)."""
    _, height, width = spec.compression
    grid = TileGrid(spec.latent_size(*pixels.shape[1:3]), tiling)
    (rows, outer_rows), (columns, outer_columns) = meeting(grid.rows, tiling), meeting(grid.columns, tiling)
    window = pixels[:, outer_rows.slice(height), outer_columns.slice(width)]
    tiled = encode_video(vae, spec, pixels, device, block_latents=block_latents, tiling=tiling)
    around = encode_video(vae, spec, window, device, block_latents=block_latents)
    return _difference(
        tiled[..., rows.slice(), columns.slice()],
        around[..., _inside(rows, outer_rows).slice(), _inside(columns, outer_columns).slice()],
    )


def decoding_error(
    vae: VideoCodec, spec: LatentSpec, latents: Tensor, device: torch.device, *, block_latents: int, tiling: Tiling
) -> SeamError:
    """The error of decoding normalised latents ``(C, T, H, W)`` in tiles, in levels of 8-bit pixels."""
    _, height, width = spec.compression
    grid = TileGrid(latents.shape[2:], tiling)
    (rows, outer_rows), (columns, outer_columns) = meeting(grid.rows, tiling), meeting(grid.columns, tiling)
    window = latents[:, :, outer_rows.slice(), outer_columns.slice()]
    pairs = zip(
        decode_frames(vae, spec, [latents], device, block_latents=block_latents, tiling=tiling),
        decode_frames(vae, spec, [window], device, block_latents=block_latents),
        strict=True,
    )
    inside = (_inside(rows, outer_rows).slice(height), _inside(columns, outer_columns).slice(width))
    tiled, around = zip(
        *((whole[..., rows.slice(height), columns.slice(width)], part[(..., *inside)]) for whole, part in pairs),
        strict=True,
    )
    return _difference(127.5 * torch.cat(tiled, 2), 127.5 * torch.cat(around, 2))


def meeting(spans: tuple[Span, ...], tiling: Tiling) -> tuple[Span, Span]:
    """Where tiles of an axis are inexact around the middlemost seam, and the stretch that decides what is there.

    Without a seam it is the same stretch around the middle.
    """
    length = spans[-1].stop
    seams = [span.takes_over for span in spans if span.takes_over is not None] or [length // 2]
    seam = min(seams, key=lambda place: abs(2 * place - length))
    inexact = max(1, tiling.reach - tiling.overlap)
    inner = Span(max(0, seam - inexact), min(length, seam + inexact))
    return inner, Span(max(0, inner.start - tiling.reach), min(length, inner.stop + tiling.reach))


def _inside(inner: Span, outer: Span) -> Span:
    return Span(inner.start - outer.start, inner.stop - outer.start)


def _difference(one: Tensor, other: Tensor) -> SeamError:
    error = one.float() - other.float()
    return SeamError(float(error.abs().max()), float(error.square().mean().sqrt()))
