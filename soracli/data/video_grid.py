"""Finished videos side by side in one, streamed from their files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from soracli.data.image_read import Frames
from soracli.data.video_read import probe_video, stream_frames

GUTTER: Final = 4
"""Pixels between two videos; even, as players want sizes to be."""

MAX_VIDEOS: Final = 100
"""Most videos of a grid: each has a decoder of its own."""

_GREY: Final = 24


def grid_shape(count: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns whose outline is nearest to a square; of equals the one with fewer holes, then the wider one.

    Args:
        count: Videos, at least one.
        height: Of each, pixels.
        width: Of each, pixels.
    """

    def strain(columns: int) -> tuple[float, int, int]:
        rows = math.ceil(count / columns)
        return round(abs(math.log(columns * width / (rows * height))), 9), rows * columns - count, -columns

    columns = min(range(1, count + 1), key=strain)
    return math.ceil(count / columns), columns


def stream_grid(paths: Sequence[Path], num_frames: int, chunk_frames: int = 8) -> Iterator[Frames]:
    """Frames of a grid, in constant memory: a few frames of each video at a time.

    Args:
        paths: Videos of one size and rate, row by row; the last frame of a shorter one is held.
        num_frames: Frames of the grid.
        chunk_frames: Frames in one array.

    Yields:
        uint8 ``(t, rows H + gutters, columns W + gutters, 3)``.

    Raises:
        DataError: If a video cannot be read.
        ValueError: If there is none, or their sizes differ.
    """
    infos = [probe_video(path, verify=False) for path in paths]
    sizes = {(info.height, info.width) for info in infos}
    if len(sizes) != 1:
        raise ValueError(f"videos of a grid have one size, got {sorted(sizes)}")
    height, width = sizes.pop()
    rows, columns = grid_shape(len(paths), height, width)
    whole = (rows * (height + GUTTER) - GUTTER, columns * (width + GUTTER) - GUTTER)
    sources = [_held(path) for path in paths]
    for first in range(0, num_frames, chunk_frames):
        chunk = np.full((min(chunk_frames, num_frames - first), *whole, 3), _GREY, np.uint8)
        for time in range(len(chunk)):
            for number, source in enumerate(sources):
                top, left = number // columns * (height + GUTTER), number % columns * (width + GUTTER)
                chunk[time, top : top + height, left : left + width] = next(source)
        yield chunk


def _held(path: Path) -> Iterator[Frames]:
    """Frame after frame ``(H, W, 3)``, the last one for ever."""
    last: Frames | None = None
    for chunk in stream_frames(path, chunk_frames=4):
        for last in chunk:
            yield last
    while last is not None:
        yield last
