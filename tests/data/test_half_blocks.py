"""Characters of a frame: each the mean of the pixels it stands for; sizes that keep the aspect."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.half_blocks import half_blocks


def test_a_character_shows_two_pixels() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    lines = half_blocks(frame, 4)
    assert len(lines) == 2 and all(len(line) == 4 for line in lines)
    means = frame.reshape(4, 2, 4, 2, 3).mean((1, 3))
    found = np.array([[pair[half] for pair in line] for line in lines for half in (0, 1)])
    assert np.abs(found - means).max() <= 1  # rows and columns are rounded one after the other


@pytest.mark.parametrize(("size", "shape"), [((128, 128), (20, 40)), ((96, 160), (12, 40)), ((160, 96), (20, 24))])
def test_the_aspect_stays(size: tuple[int, int], shape: tuple[int, int]) -> None:
    lines = half_blocks(np.zeros((*size, 3), np.uint8), 40)
    assert (len(lines), len(lines[0])) == shape


@given(height=st.integers(1, 300), width=st.integers(1, 300), columns=st.integers(1, 60))
def test_it_is_never_larger_than_asked(height: int, width: int, columns: int) -> None:
    lines = half_blocks(np.zeros((height, width, 3), np.uint8), columns)
    assert 1 <= len(lines) <= max(1, (columns + 1) // 2) and {len(line) for line in lines} <= set(range(1, columns + 1))
