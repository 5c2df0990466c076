"""Large frames in tiles: how far a VAE sees, where tiles lie, and how they are joined.

Axes: H rows, W columns, of latents or pixels. Convolutions are local and norms act per position, so a tile with as much
around it as the VAE sees (its *reach*) gives the numbers of the whole frame, up to the order of float sums. Tiles that
overlap by less are blended where neither is exact; ``soracli.models.seams`` measures what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.models.config import VAEConfig


def encoder_reach(config: VAEConfig) -> int:
    """Rows and columns of latents around one from whose pixels its value comes, on the side where they are more.

    Interval arithmetic from the latent outward: a 3x3 convolution sees one more on each side, and output i of one with
    stride 2 sees inputs 2i - 1 to 2i + 1. The axes are alike.
    """
    start, stop = -1, 2  # what the head sees around latent 0
    for level in reversed(range(len(config.widths))):
        start, stop = start - config.encoder_blocks[level], stop + config.encoder_blocks[level]
        if level > 0:
            start, stop = 2 * start - 1, 2 * stop
    start, stop = start - 1, stop + 1  # the stem
    unit = 2 ** (len(config.widths) - 1)
    return max(math.ceil(-start / unit), math.ceil(stop / unit) - 1)


def decoder_reach(config: VAEConfig) -> int:
    """Rows and columns of latents around one that its pixels come from; as ``encoder_reach``, from pixels inward."""
    start, stop = -1, 2 ** (len(config.widths) - 1) + 1  # what the head sees around the positions of latent 0
    for level in range(len(config.widths)):
        start, stop = start - config.decoder_blocks[level], stop + config.decoder_blocks[level]
        if level < len(config.widths) - 1:
            start, stop = start // 2 - 1, -(-stop // 2) + 1
    start, stop = start - 1, stop + 1  # the stem
    return max(-start, stop - 1)


@dataclass(frozen=True)
class Tiling:
    """How frames are cut, in latents along either axis.

    Attributes:
        size: Longest side of a tile, what overlaps included; above ``2 * overlap``.
        overlap: How far a tile goes on beyond where the next one takes over; between 0 and ``reach``.
        reach: ``encoder_reach`` or ``decoder_reach``: an overlap of as much is exact.
    """

    size: int
    overlap: int
    reach: int

    @property
    def is_exact(self) -> bool:
        """Whether each tile sees all that decides what it gives."""
        return self.overlap == self.reach

    @property
    def ramp(self) -> int:
        """Half the width over which tiles are blended: as far as both are there and neither is exact."""
        return min(self.overlap, self.reach - self.overlap)


@dataclass(frozen=True)
class Span:
    """One tile's stretch of an axis, in latents.

    Attributes:
        start: First latent that is computed.
        stop: Behind the last.
        takes_over: Where it takes over from the tile before; None for the first.
        hands_over: Where the next takes over; None for the last.
    """

    start: int
    stop: int
    takes_over: int | None = None
    hands_over: int | None = None

    def slice(self, scale: int = 1) -> slice:
        """The stretch, with ``scale`` rows or columns a latent."""
        return slice(self.start * scale, self.stop * scale)


def cut_axis(length: int, tiling: Tiling | None) -> tuple[Span, ...]:
    """Equal tiles along ``length`` latents, with overlaps; one if they fit into one."""
    if tiling is None or length <= tiling.size:
        return (Span(0, length),)
    count = math.ceil(length / (tiling.size - 2 * tiling.overlap))
    seams = [index * length // count for index in range(count + 1)]
    return tuple(
        Span(
            start=max(0, seams[index] - tiling.overlap),
            stop=min(length, seams[index + 1] + tiling.overlap),
            takes_over=seams[index] if index > 0 else None,
            hands_over=seams[index + 1] if index < count - 1 else None,
        )
        for index in range(count)
    )


class TileGrid:
    """The tiles of frames of one size.

    Args:
        size: Rows and columns of latents.
        tiling: How to cut; None makes one tile.

    Attributes:
        tiles: Rows and columns of each, row by row.
    """

    def __init__(self, size: Sequence[int], tiling: Tiling | None) -> None:
        rows, columns = size
        self._size = (rows, columns)
        self._ramp = tiling.ramp if tiling is not None else 0
        self.rows, self.columns = cut_axis(rows, tiling), cut_axis(columns, tiling)
        self.tiles = [(down, across) for down in self.rows for across in self.columns]

    def join(self, parts: Iterable[Tensor], scale: tuple[int, int] = (1, 1)) -> Tensor:
        """What the tiles gave as one frame.

        Args:
            parts: ``(..., h, w)`` of each tile, in order; taken one at a time.
            scale: Rows and columns for each latent.

        Returns:
            ``(..., H, W)``; a single tile as it is.
        """
        if len(self.tiles) == 1:
            (whole,) = parts
            return whole
        joined: Tensor | None = None
        for (down, across), part in zip(self.tiles, parts, strict=True):
            if joined is None:
                size = [side * unit for side, unit in zip(self._size, scale, strict=True)]
                joined = part.new_zeros(*part.shape[:-2], *size)
            weights = _weights(down, self._ramp, scale[0])[:, None] * _weights(across, self._ramp, scale[1])  # (h, w)
            joined[..., down.slice(scale[0]), across.slice(scale[1])] += part * weights.to(part)
        assert joined is not None
        return joined


def _weights(span: Span, ramp: int, scale: int) -> Tensor:
    """How much each row or column of a tile counts ``((stop - start) * scale,)``; those of all tiles add up to 1."""
    centres = (torch.arange(span.start * scale, span.stop * scale) + 0.5) / scale  # in latents

    def risen(seam: int) -> Tensor:
        return ((centres - seam) / (2 * ramp) + 0.5).clamp(0, 1) if ramp else (centres > seam).float()

    arrived = torch.ones_like(centres) if span.takes_over is None else risen(span.takes_over)
    return arrived if span.hands_over is None else arrived - risen(span.hands_over)
