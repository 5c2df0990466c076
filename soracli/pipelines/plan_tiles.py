"""Which tiles large frames are cut into: ``--tile`` and ``--tile-overlap``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

from soracli.core.errors import UsageError
from soracli.models.config import VAEConfig
from soracli.models.tiles import TileGrid, Tiling
from soracli.models.video_codec import VideoCodec
from soracli.models.video_vae import VideoVAE

Tile = Literal["auto", "off"] | int
"""``auto`` cuts frames whose layers would be large, ``off`` never cuts; or the side of a tile in pixels."""

_LARGEST_LAYER: Final = 256 << 20
"""Bytes of one layer's numbers beyond which ``auto`` cuts; about seven times as much is held while it is computed."""


def choose_tiling(
    vae: VideoCodec,
    size: tuple[int, int],
    *,
    see: Callable[[VAEConfig], int],
    block_latents: int,
    tile: Tile = "auto",
    overlap: int | None = None,
) -> Tiling | None:
    """How frames are cut; None: not at all. It depends on nothing of the machine, so the same call gives the same.

    Args:
        vae: The VAE; how far a published one sees is not known, it is given whole frames.
        size: Rows and columns of latents.
        see: ``encoder_reach`` or ``decoder_reach``.
        block_latents: Latent frames that are computed at once.
        tile: Side of a tile in pixels, overlaps included, rounded down to whole latents; or see ``Tile``.
        overlap: Pixels, rounded up to whole latents; None takes the reach, which is exact, and so does all above it.

    Raises:
        UsageError: If tiles of this side would be nothing but overlaps; names the least that is not. If a published
            VAE is to be given tiles.
    """
    if not isinstance(vae, VideoVAE):
        if isinstance(tile, int):
            raise UsageError(f"--tile {tile}: a published VAE is given whole frames; use --tile off")
        return None
    config, reach = vae.config, see(vae.config)
    side = config.compression[1]
    cells = reach if overlap is None else min(reach, math.ceil(overlap / side))
    if tile == "off":
        return None
    if tile == "auto":
        area = _LARGEST_LAYER / (block_latents * _bytes_per_latent(config))  # latents of a frame
        longest = math.isqrt(int(area)) if size[0] * size[1] > area else max(size)
        # Tiles that are half overlaps on either axis cost four times a whole frame: not beyond that.
        longest = max(longest, 4 * cells, 1)
    else:
        longest = tile // side
    if longest >= max(size):
        return None
    if longest <= 2 * cells:
        least = (2 * cells + 1) * side
        advice = f"use at least {least}" if cells == 0 else f"use at least {least}, or a smaller --tile-overlap"
        raise UsageError(
            f"--tile {tile} leaves nothing of a tile: each overlaps by {cells * side} pixels on both sides; {advice}"
        )
    return Tiling(size=longest, overlap=cells, reach=reach)


def _bytes_per_latent(config: VAEConfig) -> int:
    """Of the largest layer, in float32, for each latent of the last level."""
    most, positions, frames = 0, 4 ** (len(config.widths) - 1), config.compression[0]
    for width, stride in zip(config.widths, (*config.temporal_strides, 1), strict=True):
        most = max(most, positions * frames * width)
        positions, frames = positions // 4, frames // stride
    return 4 * most


def tiles_text(tiling: Tiling | None, size: tuple[int, int], side: int) -> str:
    """What is done with frames of ``size`` latents of ``side`` pixels, in words."""
    if tiling is None:
        return "whole frames"
    grid = TileGrid(size, tiling)
    exact = "exact but for rounding" if tiling.is_exact else f"of the {tiling.reach * side} that would be exact"
    return (
        f"{len(grid.columns)}x{len(grid.rows)} tiles of up to {tiling.size * side} pixels, "
        f"overlapping by {tiling.overlap * side}, {exact}"
    )
