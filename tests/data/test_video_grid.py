"""Grids against the videos they are made of, pixel for pixel; shapes near a square; one that ends earlier."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.video_grid import GUTTER, grid_shape, stream_grid
from soracli.data.video_read import read_frames
from soracli.data.video_write import VideoWriter


@pytest.mark.parametrize(
    ("count", "size", "shape"),
    [
        (1, (9, 9), (1, 1)),
        (2, (9, 9), (1, 2)),
        (3, (9, 9), (2, 2)),
        (4, (9, 9), (2, 2)),
        (5, (9, 9), (2, 3)),
        (9, (9, 9), (3, 3)),
        (2, (9, 16), (2, 1)),
        (2, (16, 9), (1, 2)),
        (8, (9, 16), (4, 2)),
    ],
)
def test_shapes(count: int, size: tuple[int, int], shape: tuple[int, int]) -> None:
    assert grid_shape(count, *size) == shape


@given(count=st.integers(1, 100), height=st.integers(8, 500), width=st.integers(8, 500))
def test_every_shape_holds_all_and_no_other_is_nearer_to_a_square(count: int, height: int, width: int) -> None:
    rows, columns = grid_shape(count, height, width)
    assert (rows - 1) * columns < count <= rows * columns

    def strain(columns: int) -> float:
        return abs(math.log(columns * width / (math.ceil(count / columns) * height)))

    assert strain(columns) <= min(map(strain, range(1, count + 1))) + 1e-6


def video(name: str, count: int, seed: int) -> Path:
    with VideoWriter(Path(name), fps=8.0, lossless=True) as writer:
        writer.write(np.random.default_rng(seed).integers(30, 256, (count, 16, 24, 3), np.uint8))
    return Path(name)


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_each_video_stands_in_its_place(workspace: Path, chunk: int) -> None:
    paths = [video(f"{number}.mkv", 13 if number != 1 else 6, number) for number in range(3)]
    chunks = list(stream_grid(paths, 13, chunk))
    assert max(map(len, chunks)) <= chunk
    frames = np.concatenate(chunks)
    assert frames.shape == (13, 3 * 16 + 2 * GUTTER, 24, 3) or frames.shape == (13, 2 * 16 + GUTTER, 2 * 24 + GUTTER, 3)
    columns = grid_shape(3, 16, 24)[1]
    left = np.full(frames.shape[1:3], True)
    for number, path in enumerate(paths):
        own = read_frames(path)
        own = own[np.minimum(np.arange(13), len(own) - 1)]  # the last frame of the shorter one is held
        top, begin = number // columns * (16 + GUTTER), number % columns * (24 + GUTTER)
        np.testing.assert_array_equal(frames[:, top : top + 16, begin : begin + 24], own)
        left[top : top + 16, begin : begin + 24] = False
    assert (frames[:, left] == 24).all()


def test_sizes_that_differ(workspace: Path) -> None:
    with VideoWriter(Path("b.mkv"), fps=8.0, lossless=True) as writer:
        writer.write(np.zeros((2, 16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="one size"):
        next(stream_grid([video("a.mkv", 2, 0), Path("b.mkv")], 2))
