"""A frame as coloured characters: two pixels above one another in each upper half block."""

from __future__ import annotations

import numpy as np
from PIL import Image

from soracli.data.image_read import Frames

Row = list[tuple[tuple[int, int, int], tuple[int, int, int]]]
"""Upper and lower colour of each character of a line."""


def half_blocks(frame: Frames, columns: int = 40) -> list[Row]:
    """A frame at the size of a few lines of text.

    Args:
        frame: uint8 ``(H, W, 3)``.
        columns: Characters a line, at most; a tall frame has fewer, so that there are no more lines than half of them.

    Returns:
        Lines of characters, which are about twice as tall as wide: a pixel is square.
    """
    height, width = frame.shape[:2]
    scale = min(columns / width, columns / height)
    across, down = max(1, round(width * scale)), max(2, 2 * round(height * scale / 2))
    small = np.asarray(Image.fromarray(frame).resize((across, down), Image.Resampling.BOX)).tolist()
    return [
        [(tuple(upper), tuple(lower)) for upper, lower in zip(small[row], small[row + 1], strict=True)]
        for row in range(0, down, 2)
    ]
