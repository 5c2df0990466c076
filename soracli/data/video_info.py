"""What is true of a video, animation or picture file once its frames were counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

FRAME_SLACK: Final = 0.2618
"""How much later than its moment a frame may be and still be shown there, in output frames.

Output frame k shows the last frame whose time is at most ``(k + FRAME_SLACK) / fps``. The slack absorbs time stamps
rounded to milliseconds and the jitter of phones, so that reading at the native rate gives every frame once. It is no
simple fraction: between usual rates (24 to 25, 29.97 to 24) no frame lies so near the limit that microseconds decide.
"""

MAX_FRAMES: Final = 5_000_000
"""Most frames of one file: two days at 24 fps. A file with more has wrong time stamps."""

Kind = Literal["video", "animation", "image"]


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A counted file. ``seconds == num_frames / fps`` always.

    Attributes:
        path: The file.
        width: Width of a frame in pixels: upright, with square pixels.
        height: Height of a frame in pixels.
        fps: The constant rate that frames are given at by default; for a variable rate file that of its usual frame.
        num_frames: Frames at that rate, exactly as many as ``read_frames`` gives.
        seconds: Length; of a picture, that of one frame.
        kind: ``video`` (through ffmpeg), ``animation`` (webp, gif, apng) or ``image`` (one picture).
        variable: Whether the file's own frames come at no constant rate.
        has_alpha: Whether frames have transparency.
        damage: What is wrong with a file that could be decoded in part, "" when it is whole.
    """

    path: Path
    width: int
    height: int
    fps: float
    num_frames: int
    seconds: float
    kind: Kind
    variable: bool
    has_alpha: bool
    damage: str

    def num_frames_at(self, fps: float) -> int:
        """Frames of the whole file at another rate, exactly as many as ``read_frames(path, fps=fps)`` gives."""
        return self.num_frames if fps == self.fps else frames_in(self.seconds, fps)


def frames_in(seconds: float, fps: float) -> int:
    """Frames shown during ``seconds`` at ``fps``, at least one."""
    return max(1, math.ceil(seconds * fps - FRAME_SLACK))
