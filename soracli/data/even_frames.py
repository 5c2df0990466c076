"""Frames of a clip, evenly from its first to its last: what captioners look at.

Axes: T frames, H rows, W columns.
"""

from __future__ import annotations

import numpy as np

from soracli.data.frame_fit import Fit
from soracli.data.image_read import Frames
from soracli.data.manifest import Clip, Manifest
from soracli.data.video_read import stream_frames


def even_numbers(num_frames: int, wanted: int) -> list[int]:
    """Numbers of ``wanted`` of ``num_frames`` frames, the first and the last among them; all if there are not more."""
    count = min(num_frames, wanted)
    return [round(number * (num_frames - 1) / max(1, count - 1)) for number in range(count)]


def even_frames(
    manifest: Manifest,
    clip: Clip,
    wanted: int,
    *,
    size: tuple[int, int],
    fit: Fit = "crop",
    background: tuple[int, int, int] | None,
) -> tuple[Frames, list[float]]:
    """Frames of a clip, in memory no more than are wanted.

    Args:
        manifest: That lists it.
        clip: Which.
        wanted: T at most.
        size: ``(H, W)`` to bring them to.
        fit: As for ``stream_frames``.
        background: Under transparent parts and borders; None gives RGBA.

    Returns:
        uint8 ``(T, H, W, 3)`` or ``(T, H, W, 4)``, and the seconds of each after the first.

    Raises:
        DataError: As ``stream_frames``.
    """
    numbers = even_numbers(clip.num_frames, wanted)
    kept, done = [], 0
    chunks = stream_frames(
        manifest.locate(clip),
        start=clip.start,
        num_frames=clip.num_frames,
        fps=clip.fps,
        size=size,
        fit=fit,
        background=background,
    )
    for chunk in chunks:
        kept += [chunk[number - done].copy() for number in numbers if done <= number < done + len(chunk)]
        done += len(chunk)
    return np.stack(kept), [number / clip.fps for number in numbers]
