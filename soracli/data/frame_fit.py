"""Where a frame goes when it is brought to another size: one rule for ffmpeg and for Pillow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Fit = Literal["crop", "pad", "stretch"]


@dataclass(frozen=True)
class Placement:
    """A frame is scaled to ``scaled`` and then cut to, or laid into, ``size``; all as (height, width).

    Attributes:
        scaled: Size after scaling.
        size: Final size.
        offset: Row and column of the scaled frame where the final one begins; negative where a border is added.
    """

    scaled: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]


def place_frame(height: int, width: int, size: tuple[int, int] | None, fit: Fit) -> Placement:
    """Where a frame of ``height`` by ``width`` goes in ``size``.

    Args:
        height: Rows of the frame.
        width: Columns of the frame.
        size: Wanted ``(height, width)``; None keeps the frame as it is.
        fit: ``crop`` fills the size and cuts what hangs over, equally on both sides; ``pad`` shows all of the frame
            between borders; ``stretch`` gives up the aspect.
    """
    if size is None or fit == "stretch":
        final = size or (height, width)
        return Placement(final, final, (0, 0))
    ratios = (size[0] / height, size[1] / width)
    if fit == "crop":
        # Rounded up, a hair below first: 0.1 + 0.2 must not cost a row.
        scale = max(ratios)
        scaled = (
            max(size[0], math.ceil(height * scale - 1e-6)),
            max(size[1], math.ceil(width * scale - 1e-6)),
        )
    else:
        scale = min(ratios)
        scaled = (
            min(size[0], max(1, round(height * scale))),
            min(size[1], max(1, round(width * scale))),
        )
    offset = ((scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2)
    return Placement(scaled, size, offset)
