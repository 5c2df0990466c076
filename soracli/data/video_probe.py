"""Counting the frames of a file: what is true of it, not what its header promises."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from soracli.core.errors import DataError
from soracli.data.ffmpeg import (
    DEFAULT_TIMEOUT,
    MAX_PIXELS,
    FFmpegOutput,
    checked_file,
    input_arguments,
    plain_reason,
)
from soracli.data.image_read import is_picture_file, probe_picture
from soracli.data.timestamps import Timing, timing_of
from soracli.data.video_header import VideoHeader, read_header
from soracli.data.video_info import MAX_FRAMES, VideoInfo

_MAX_LISTING_BYTES = 80 * MAX_FRAMES


def probe_video(
    path: Path, timeout: float = DEFAULT_TIMEOUT, *, verify: bool = True, allow_damaged: bool = False
) -> VideoInfo:
    """Size, rate and exact number of frames of a video, animation or picture.

    The frames are counted by decoding them all (nothing is kept), which also finds damage that ffmpeg itself passes
    over with exit status 0. Files of variable frame rate are described at a constant rate, see ``timing_of``. HDR
    video is read as it is, without tone mapping.

    Args:
        path: The file.
        timeout: Seconds without any output after which the decoder counts as hanging.
        verify: False trusts the packets' time stamps when they are evenly spaced and as long as the header promises,
            and decodes only otherwise: much faster, but damage inside the pictures stays unseen.
        allow_damaged: Describe the part of a damaged or cut file that can be decoded, with ``damage`` saying what is
            wrong, instead of raising.

    Raises:
        DataError: One line with the file and the reason: missing, empty, a directory, not a video, no video stream, no
            frames, damaged or cut off, too large, or a decoder that hangs.
        MachineError: If ffmpeg is missing.
    """
    path = checked_file(Path(path))
    if is_picture_file(path):
        return probe_picture(path)
    header, _ = read_header(path, timeout)
    if header.width * header.height > MAX_PIXELS:
        raise DataError(
            f"{path}: frames of {header.width}x{header.height} are larger than the {MAX_PIXELS} pixels read here"
        )
    info = None if verify else _probe(path, header, timeout, decode=False)
    if info is None or info.damage or info.variable:
        info = _probe(path, header, timeout, decode=True)
    if info is None:
        raise DataError(f"{path}: holds no frame that can be decoded")
    if info.damage and not allow_damaged:
        raise DataError(f"{path}: {info.damage}; {info.num_frames} frames can be decoded")
    return info


def playable_seconds(path: Path) -> float:
    """How much of a file that is still being written a player shows; 0 for nothing yet.

    Args:
        path: Such as ``NAME.part.mp4``.
    """
    try:
        return probe_video(path, verify=False, allow_damaged=True).seconds
    except DataError:
        return 0.0


def _probe(path: Path, header: VideoHeader, timeout: float, *, decode: bool) -> VideoInfo | None:
    times, end, complaints = _list_frames(path, header, timeout, decode=decode)
    if not times:
        if decode and complaints:
            raise DataError(f"{path}: holds no frame that can be decoded: {plain_reason(complaints)}")
        return None
    # Reading puts time 0 at the header's start, so counting does too.
    start = header.start
    timing = timing_of(times, end, start, header.fps)
    if timing.num_frames > MAX_FRAMES:
        raise DataError(f"{path}: its time stamps run over {end - start:.0f} s, more than {MAX_FRAMES} frames")
    info = VideoInfo(
        path=path,
        width=header.width,
        height=header.height,
        fps=timing.fps,
        num_frames=timing.num_frames,
        seconds=timing.num_frames / timing.fps,
        kind="video",
        variable=timing.variable,
        has_alpha=header.has_alpha,
        damage="",
    )
    return replace(info, damage=_damage(header, timing, end - start, complaints))


def _damage(header: VideoHeader, timing: Timing, seconds: float, complaints: list[str]) -> str:
    promised = header.promised_seconds
    missing = promised - seconds if promised is not None else 0.0
    if promised is not None and missing > 0.05 + 1.5 / timing.fps:
        return f"it is cut off or damaged: {seconds:.2f} s of the {promised:.2f} s that its header promises"
    if complaints:
        return f"it is cut off or damaged: {plain_reason(complaints)}"
    return ""


def _list_frames(
    path: Path, header: VideoHeader, timeout: float, *, decode: bool
) -> tuple[list[float], float, list[str]]:
    """Sorted times of all frames, when the last ends, and ffmpeg's complaints."""
    named = ["-c:V:0", header.decoder] if header.decoder else []
    # wrapped_avframe: frames are counted where the decoder put them, without a copy.
    wanted = ["-c:v", "wrapped_avframe", "-fps_mode", "passthrough", "-enc_time_base", "demux"]
    arguments = [
        *input_arguments(path, "-threads", "1", "-noautorotate", *named),
        *("-map", "0:V:0", "-copyts", *(wanted if decode else ["-c", "copy"])),
        *("-flush_packets", "1", "-f", "framecrc", "-"),
    ]
    with FFmpegOutput(arguments, timeout, path) as output:
        listing = output.read_text(_MAX_LISTING_BYTES)
        status = output.finish()
        complaints = output.complaints()
    if status != 0 and not complaints:
        complaints = [f"ffmpeg stopped with status {status}"]
    unit = Fraction(1)
    frames: list[tuple[int, int]] = []
    for line in listing.splitlines():
        if line.startswith("#tb 0:"):
            unit = Fraction(line.removeprefix("#tb 0:").strip())
        elif not line.startswith("#"):
            fields = line.split(",")
            frames.append((int(fields[2]), int(fields[3])))
    frames.sort()
    times = [float(time * unit) for time, _ in frames]
    end = float(sum(frames[-1]) * unit) if frames else 0.0
    return times, end, complaints
