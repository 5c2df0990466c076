"""Frames out of video, animation and picture files, whole or by excerpt, in memory or as a stream.

Axes: T frames, H rows, W columns. Frames are uint8 RGB ``(T, H, W, 3)``, upright, with square pixels, at a constant
rate: frame k of a file is what is on show at ``k / fps`` seconds after its first frame. So an excerpt equals the same
frames of the whole, whatever the file's own time stamps are.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from soracli.core.errors import DataError
from soracli.data.ffmpeg import (
    DEFAULT_TIMEOUT,
    MAX_PIXELS,
    FFmpegOutput,
    checked_file,
    input_arguments,
    plain_reason,
)
from soracli.data.frame_fit import Fit, place_frame
from soracli.data.image_read import Frames, is_picture_file, stream_picture_frames
from soracli.data.video_header import VideoHeader, read_header
from soracli.data.video_info import FRAME_SLACK, VideoInfo
from soracli.data.video_probe import probe_video

__all__ = ["MAX_READ_BYTES", "VideoInfo", "probe_video", "read_frames", "stream_frames"]

MAX_READ_BYTES: Final = 8 << 30
"""Most memory that ``read_frames`` takes for frames; longer videos are streamed."""

_LATEST, _FASTEST = 10**9, 10**6
_SEEK_MARGIN = 1.0
_SCALER = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


def stream_frames(
    path: Path,
    *,
    start: float = 0.0,
    num_frames: int | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
    background: tuple[int, int, int] | None = (0, 0, 0),
    chunk_frames: int = 16,
    timeout: float = DEFAULT_TIMEOUT,
    allow_damaged: bool = False,
    threads: int = 1,
) -> Iterator[Frames]:
    """Frames of a file of any length in constant memory.

    Args:
        path: A video, animation or picture.
        start: Seconds after the first frame where the excerpt begins, rounded to the nearest frame at ``fps``.
        num_frames: How many frames; None takes all up to the end (the file is counted first).
        fps: Constant rate to give frames at; None keeps the file's own (the file is counted first).
        size: ``(height, width)`` to bring frames to; None keeps the file's own.
        fit: ``crop`` fills the size, ``pad`` adds borders in the background colour, ``stretch`` gives up the aspect.
        background: RGB colour under transparent parts and in borders. None gives RGBA frames instead: opaque ones for
            files without alpha, borders transparent.
        chunk_frames: Frames in one array.
        timeout: Seconds without a frame after which the decoder counts as hanging.
        allow_damaged: Give what can be decoded of a damaged or cut file instead of raising.
        threads: Threads of the decoder; 0 lets it choose.

    Yields:
        uint8 arrays ``(t, H, W, 3)``, or ``(t, H, W, 4)`` without a background; t is ``chunk_frames`` except in the
        last one.

    Raises:
        DataError: As ``probe_video``, or if the file has fewer frames than asked for, or frames are asked for that are
            too large, too fast or too late.
        MachineError: If ffmpeg is missing.
    """
    path = checked_file(Path(path))
    if not 0 <= start <= _LATEST or (num_frames is not None and num_frames < 1):
        raise DataError(f"{path}: an excerpt of {num_frames} frames from {start:g} s on does not exist")
    if fps is not None and not 0 < fps <= _FASTEST:
        raise DataError(f"{path}: cannot be read at {fps:g} frames a second; the fastest is {_FASTEST}")
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{path}: frames of {size[1]}x{size[0]} are larger than the {MAX_PIXELS} pixels read here")
    if num_frames is None or fps is None:
        info = probe_video(path, timeout, verify=num_frames is None, allow_damaged=allow_damaged)
        fps = info.fps if fps is None else fps
        if num_frames is None:
            num_frames = info.num_frames_at(fps) - round(start * fps)
            if num_frames < 1:
                raise DataError(f"{path}: lasts {info.seconds:.2f} s, an excerpt cannot start at {start:g} s")
    if is_picture_file(path):
        frames: Iterator[Frames] = stream_picture_frames(
            path, first=round(start * fps), num_frames=num_frames, fps=fps, size=size, fit=fit, background=background
        )
        yield from _in_chunks(path, frames, num_frames, chunk_frames, allow_damaged)
        return
    header, _ = read_header(path, timeout)
    arguments = _decode_arguments(path, header, start, num_frames, fps, size, fit, background, threads)
    height, width = size or (header.height, header.width)
    channels = 3 if background is not None else 4
    with FFmpegOutput(arguments, timeout, path) as output:
        done, last = 0, np.empty((0, height, width, channels), dtype=np.uint8)
        while done < num_frames:
            chunk = np.empty((min(chunk_frames, num_frames - done), height, width, channels), dtype=np.uint8)
            count = output.read_into(chunk.reshape(-1).data) // (height * width * channels)
            if count == 0:
                break
            done += count
            last = chunk[count - 1 : count]
            yield chunk[:count]
        if 0 < done == num_frames - 1:
            # A rounding at the very end of a file: its last frame is held for one more.
            yield last
        elif done < num_frames:
            output.finish()
            _refuse_short(path, done, num_frames, output.complaints(), allow_damaged)


def read_frames(
    path: Path,
    *,
    start: float = 0.0,
    num_frames: int | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
    background: tuple[int, int, int] | None = (0, 0, 0),
    timeout: float = DEFAULT_TIMEOUT,
    allow_damaged: bool = False,
    threads: int = 1,
) -> Frames:
    """Frames of a file or of an excerpt in one array.

    Args:
        path: A video, animation or picture.
        start: As for ``stream_frames``, like all that follow.
        num_frames: How many frames; None takes all up to the end.
        fps: Constant rate; None keeps the file's own.
        size: ``(height, width)``; None keeps the file's own.
        fit: ``crop``, ``pad`` or ``stretch``.
        background: RGB colour under transparent parts and in borders; None gives RGBA.
        timeout: Seconds without a frame after which the decoder counts as hanging.
        allow_damaged: Give what can be decoded of a damaged or cut file, possibly fewer frames.
        threads: Threads of the decoder.

    Returns:
        uint8 ``(T, H, W, 3)``, or ``(T, H, W, 4)`` without a background.

    Raises:
        DataError: As ``stream_frames``, or if the frames would take more than ``MAX_READ_BYTES``.
    """
    chunks: list[Frames] = []
    total = 0
    for chunk in stream_frames(
        path,
        start=start,
        num_frames=num_frames,
        fps=fps,
        size=size,
        fit=fit,
        background=background,
        chunk_frames=64 if num_frames is None else min(num_frames, 512),
        timeout=timeout,
        allow_damaged=allow_damaged,
        threads=threads,
    ):
        total += chunk.nbytes
        if total > MAX_READ_BYTES:
            raise DataError(
                f"{path}: its frames take more than {MAX_READ_BYTES >> 30} GiB at once; read a shorter excerpt"
            )
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _decode_arguments(
    path: Path,
    header: VideoHeader,
    start: float,
    num_frames: int,
    fps: float,
    size: tuple[int, int] | None,
    fit: Fit,
    background: tuple[int, int, int] | None,
    threads: int,
) -> list[str]:
    rate = Fraction(fps).limit_denominator(100_000)
    first = round(start * fps)
    options = ["-threads", str(threads)]
    if header.decoder:
        options += ["-c:V:0", header.decoder]
    # From a keyframe before the excerpt on, all frames reach the rate filter: the frame on show at the beginning of the
    # excerpt may be older than it.
    seek = first / fps - _SEEK_MARGIN
    if seek > 0:
        options += ["-noaccurate_seek", "-ss", f"{seek:.6f}"]
    steps = ["bwdif=mode=send_frame:deint=interlaced"] if header.interlaced else []
    # The clock begins at the first frame; time stamps stay absolute (-copyts), so a seek cannot shift the grid.
    shift = round((header.start + FRAME_SLACK / fps) * 1e6)
    steps += [
        f"settb=AVTB,setpts=PTS-({shift})",
        # Two microseconds early: the filter counts from start_time on, and rounds it up to a whole output frame.
        f"fps=fps={rate}:round=up:start_time={first / fps - 2e-6:.7f}",
        *_picture_steps(header, size, fit, background),
    ]
    return [
        *input_arguments(path, *options),
        *("-map", "0:V:0", "-copyts", "-vf", ",".join(steps), "-fps_mode", "passthrough"),
        *("-frames:v", str(num_frames), "-pix_fmt", "rgb24" if background is not None else "rgba"),
        *("-threads", "1", "-f", "rawvideo", "-"),
    ]


def _picture_steps(
    header: VideoHeader, size: tuple[int, int] | None, fit: Fit, background: tuple[int, int, int] | None
) -> list[str]:
    """Filters from the decoder's pixels to upright RGB of the wanted size."""
    place = place_frame(header.height, header.width, size, fit)
    colour = "0x{:02x}{:02x}{:02x}".format(*(background or (0, 0, 0)))
    matrix = f"in_color_matrix={header.matrix}"
    resize = f"scale={place.scaled[1]}:{place.scaled[0]}:{_SCALER}"
    steps = [f"{resize}:{matrix}", "setsar=1"]
    if header.has_alpha and background is not None:
        # Under the picture before scaling, so that colours hidden by transparency cannot bleed into the edges.
        below = f"drawbox=c={colour}@1:replace=1:t=fill"
        layers = f"split[top][bottom];[bottom]{below}[below];[below][top]overlay=format=gbrp"
        steps = [f"scale={_SCALER}:{matrix}", f"format=gbrap,{layers}", resize, "setsar=1", "format=rgb24"]
    elif header.has_alpha:
        premultiplied = f"premultiply=inplace=1,{resize},unpremultiply=inplace=1"
        steps = [f"scale={_SCALER}:{matrix}", f"format=gbrap,{premultiplied}", "setsar=1", "format=rgba"]
    else:
        steps.append("format=rgb24" if background is not None else "format=rgba")
    (height, width), (top, left) = place.size, place.offset
    if place.scaled == place.size:
        return steps
    if fit == "crop":
        return [*steps, f"crop={width}:{height}:{left}:{top}:exact=1"]
    border = f"{colour}@{1 if background is not None else 0}"
    return [*steps, f"pad={width}:{height}:{-left}:{-top}:color={border}"]


def _in_chunks(
    path: Path, frames: Iterator[Frames], num_frames: int, chunk_frames: int, allow_damaged: bool
) -> Iterator[Frames]:
    waiting: list[Frames] = []
    done = 0
    for frame in frames:
        waiting.append(frame)
        done += 1
        if len(waiting) == chunk_frames:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)
    if done < num_frames:
        _refuse_short(path, done, num_frames, [], allow_damaged)


def _refuse_short(path: Path, done: int, num_frames: int, complaints: list[str], allow_damaged: bool) -> None:
    if done and allow_damaged:
        return
    because = f": {plain_reason(complaints)}" if complaints else ""
    raise DataError(f"{path}: gave {done} of the {num_frames} frames asked for{because}")
