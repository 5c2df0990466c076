"""From the times of a file's frames to one constant rate."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from soracli.core.units import MAX_FPS
from soracli.data.video_info import FRAME_SLACK, frames_in

_NTSC: Final = tuple(1000 * rate / 1001 for rate in (24, 30, 48, 60, 120))
_JITTER: Final = 0.8 * FRAME_SLACK


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How the frames of a file lie in time.

    Attributes:
        fps: The constant rate to read at.
        num_frames: Frames at that rate.
        variable: Whether the file's own frames come at no constant rate.
    """

    fps: float
    num_frames: int
    variable: bool


def timing_of(times: Sequence[float], end: float, start: float, said_fps: float) -> Timing:
    """The constant rate of a list of frame times.

    The header's rate is taken when every frame lies within a fifth of a frame of it, else the mean rate of the frames
    on the same condition. Otherwise the rate is variable and the median step between frames gives it, so that a
    recording of a still screen keeps the rate of its moving parts.

    Args:
        times: Seconds of each frame, sorted, at least one.
        end: When the last frame ends.
        start: When the first frame is shown (the header's word; normally ``times[0]``).
        said_fps: The header's rate, 0 when it has none.
    """
    count = len(times)
    usual = snap_rate(said_fps)
    if count == 1:
        length = end - start
        fps = usual or (snap_rate(1 / length) if length > 0 else 1.0)
        return Timing(fps=min(fps, MAX_FPS), num_frames=max(1, frames_in(length, fps)), variable=False)
    span = times[-1] - times[0]
    mean = snap_rate((count - 1) / span) if span > 0 else 0.0
    for fps in (usual, mean):
        if 0 < fps <= MAX_FPS and max(abs((time - start) * fps - k) for k, time in enumerate(times)) <= _JITTER:
            return Timing(fps=fps, num_frames=count, variable=False)
    steps = [after - before for before, after in itertools.pairwise(times) if after > before]
    step = statistics.median(steps) if steps else 1.0
    fps = min(snap_rate(1 / step), MAX_FPS)
    return Timing(fps=fps, num_frames=frames_in(end - start, fps), variable=True)


def snap_rate(fps: float) -> float:
    """The usual rate that a rounded one stands for: 29.97 is 30000/1001, 24.0001 is 24; others stay."""
    near = min((*_NTSC, float(round(fps))), key=lambda usual: abs(usual - fps))
    return near if abs(near - fps) < 0.006 and near > 0 else round(fps, 6)
