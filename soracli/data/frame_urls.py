"""Frames as data URLs, the form in which chat endpoints take pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from soracli.data.image_read import Frames

_QUALITY = 90


def frame_urls(frames: Frames, num_frames: int, max_side: int) -> list[str]:
    """Some frames as JPEG ``data:`` URLs (quality 90, colours not subsampled).

    Args:
        frames: uint8 ``(T, H, W, 3)``.
        num_frames: How many at most, evenly from the first to the last.
        max_side: Longest side in pixels; larger frames are scaled down, smaller ones stay as they are.
    """
    shown = np.unique(np.linspace(0, len(frames) - 1, min(num_frames, len(frames))).round().astype(int))
    urls = []
    for number in shown:
        picture = Image.fromarray(frames[number])
        picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=_QUALITY, subsampling=0)
        urls.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii"))
    return urls
