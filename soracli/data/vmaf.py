"""VMAF, measured by ffmpeg's libvmaf where this ffmpeg has it.

Both videos go through one pipe, each frame above its original, and are cut apart again inside ffmpeg: no temporary
files, and frames cannot fall out of step.
"""

from __future__ import annotations

import functools
import re
import subprocess
from typing import Final

import numpy as np

from soracli.core.errors import MachineError
from soracli.data.ffmpeg import DEFAULT_TIMEOUT, ffmpeg_path, plain_reason, split_log_line
from soracli.data.image_read import Frames

MODEL: Final = "vmaf_v0.6.1"
"""The model, trained on full HD seen from three times the height of the picture: figures of small pictures are to be
compared among one another only."""

SMALLEST_SIDE: Final = 32
"""Pixels; below 17 libvmaf breaks."""

_SCORE = re.compile(r"VMAF score: (-?[0-9.]+)")
_TO_YUV = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_inp,format=yuv444p"


def has_vmaf() -> bool:
    """Whether the ffmpeg at hand can measure VMAF.

    Raises:
        MachineError: If there is no ffmpeg.
    """
    return _knows_vmaf(ffmpeg_path())


def vmaf_score(decoded: Frames, frames: Frames, timeout: float = DEFAULT_TIMEOUT) -> float:
    """VMAF of a video, the mean over its frames: 0 to 100, where an identical copy has 94 to 100.

    Source: Li et al. 2016, Toward a practical perceptual video quality metric, as libvmaf computes it. It looks at luma
    only (BT.709, limited range).

    Args:
        decoded: ``(T, H, W, 3)`` uint8, T at least 1, sides at least ``SMALLEST_SIDE``.
        frames: The original.
        timeout: Seconds that ffmpeg may take, and as many hundredths for each frame.

    Raises:
        ValueError: If these are no two such videos alike.
        MachineError: If ffmpeg is missing, has no libvmaf, fails or hangs.
    """
    if decoded.shape != frames.shape or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ValueError(f"need two videos (T, H, W, 3) alike, got {decoded.shape} and {frames.shape}")
    if decoded.dtype != np.uint8 or frames.dtype != np.uint8:
        raise ValueError(f"need uint8 frames, got {decoded.dtype} and {frames.dtype}")
    _, height, width, _ = frames.shape
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(f"VMAF needs frames of at least {SMALLEST_SIDE}x{SMALLEST_SIDE}, got {width}x{height}")
    if not has_vmaf():
        raise MachineError("this ffmpeg has no libvmaf: pip install --upgrade imageio-ffmpeg")
    command = [
        *(ffmpeg_path(), "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"),
        *("-protocol_whitelist", "pipe", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{width}x{2 * height}", "-framerate", "25", "-i", "pipe:0"),
        *("-filter_complex", _graph(height, width), "-f", "null", "-"),
    ]
    try:
        done = subprocess.run(
            command,
            input=np.concatenate([decoded, frames], 1).reshape(-1).data,
            capture_output=True,
            timeout=timeout * (1 + len(frames) / 100),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"ffmpeg's libvmaf gave nothing for {error.timeout:g} s and was stopped") from None
    except OSError as error:
        raise MachineError(f"ffmpeg does not start ({command[0]}): {error.strerror}") from error
    lines = [split_log_line(line) for line in done.stderr.decode("utf-8", "replace").splitlines()]
    scores = [found[1] for _, text in lines if (found := _SCORE.search(text))]
    if done.returncode != 0 or not scores:
        complaints = [text for level, text in lines if level in ("error", "fatal", "panic")]
        raise MachineError(f"VMAF failed: {plain_reason(complaints, f'ffmpeg ended with status {done.returncode}')}")
    return float(scores[-1])


def _graph(height: int, width: int) -> str:
    """The filters: cut frames and originals apart, and compare."""
    upper, lower = f"crop={width}:{height}:0:0", f"crop={width}:{height}:0:{height}"
    parts = [
        "split[both1][both2]",
        f"[both1]{upper},{_TO_YUV}[decoded]",
        f"[both2]{lower},{_TO_YUV}[original]",
        f"[decoded][original]libvmaf=model=version={MODEL}",
    ]
    return ";".join(parts)


@functools.cache
def _knows_vmaf(program: str) -> bool:
    known = subprocess.run(
        [program, "-hide_banner", "-h", "filter=libvmaf"], capture_output=True, timeout=60, check=False
    )
    return b"libvmaf AVOptions" in known.stdout
