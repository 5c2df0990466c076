"""What ffmpeg says about a video file before decoding it: stream, shape, colour, rotation, promised length.

imageio-ffmpeg brings no ffprobe, so the text that ffmpeg logs about its input is parsed. What a header *promises* is
kept apart from what is true; ``video_probe`` counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from soracli.core.errors import DataError
from soracli.data.ffmpeg import FFmpegOutput, input_arguments, plain_reason

_CLOCK = r"(\d+):(\d\d):(\d\d(?:\.\d+)?)"
_STREAM = re.compile(r"\s*Stream #0:(\d+)\S*: (\w+): (.*)")
_SIZE = re.compile(r"(\d+)x(\d+)(?: \[|, )?(?:SAR (\d+):(\d+))?")
_ALPHA_FORMAT = re.compile(r"(yuva|rgba|bgra|argb|abgr|gbrap|ya8|ya16|pal8|ayuv|vuya)")


@dataclass(frozen=True, kw_only=True)
class VideoHeader:
    """The first real video stream of a file, as its header has it.

    Attributes:
        codec: ffmpeg's name of the codec.
        width: Width of a shown frame in pixels: upright, with square pixels.
        height: Height of a shown frame.
        fps: Average frames a second, 0 when not said.
        start: Time of the first frame on the file's own clock, in seconds.
        promised_seconds: Length of the video stream if the header says it, else None.
        has_alpha: Whether frames have transparency.
        reshaped: Whether pixels are not square (so frames must be scaled even at the native size).
        interlaced: Whether frames are two fields.
        matrix: ffmpeg's name of the colour matrix to convert with.
        decoder: A decoder that must be named because the default one drops the alpha channel, or None.
    """

    codec: str
    width: int
    height: int
    fps: float
    start: float
    promised_seconds: float | None
    has_alpha: bool
    reshaped: bool
    interlaced: bool
    matrix: str
    decoder: str | None


def read_header(path: Path, timeout: float) -> tuple[VideoHeader, dict[str, str]]:
    """The header of a file and its global metadata.

    Args:
        path: An ordinary file.
        timeout: Seconds after which a silent ffmpeg is stopped.

    Returns:
        The header, and metadata by lower-case name (``comment`` holds what ``VideoWriter`` was given).

    Raises:
        DataError: If ffmpeg cannot open it or it has no video stream.
    """
    with FFmpegOutput([*input_arguments(path), "-f", "ffmetadata", "-"], timeout, path) as output:
        metadata = output.read_text(max_bytes=1 << 24)
        status = output.finish()
        lines, complaints = output.info_lines(), output.complaints()
    header = parse_header(lines)
    if header is None:
        said = any(line.startswith("Input #0") for line in lines)
        reason = "it has no video stream" if said and status == 0 else plain_reason(complaints)
        raise DataError(f"{path}: not a video that can be read: {reason}")
    return header, parse_metadata(metadata)


def parse_header(lines: list[str]) -> VideoHeader | None:
    """The first real video stream in the lines ffmpeg logs about its input; None if there is none.

    Cover pictures of audio files are not video.
    """
    found: VideoHeader | None = None
    promised, begin = None, 0.0
    other_streams = 0
    inside = False
    for line in lines:
        if line.startswith("Output #0"):
            break
        if clock := re.match(rf"\s*Duration: {_CLOCK}(?:, start: (-?[\d.]+))?", line):
            promised, begin = _seconds(clock), float(clock[4] or 0)
        stream = _STREAM.match(line)
        if stream is not None:
            inside = found is None and stream[2] == "Video" and "(attached pic)" not in stream[3]
            other_streams += not inside
            if inside:
                found = _parse_stream(stream[3])
        elif inside and found is not None:
            found = _add_side_data(found, line)
    if found is None:
        return None
    # The container's length is that of its longest stream, so it says something of the video only when it is alone.
    if found.promised_seconds is None and not other_streams:
        found = replace(found, promised_seconds=promised)
    # Older ffmpegs say only when the container starts.
    return replace(found, start=max(0.0, begin)) if found.start == 0 else found


def _parse_stream(text: str) -> VideoHeader | None:
    fields = re.split(r", (?![^(\[]*[)\]])", text)
    shape = next((found for field in fields[1:] if (found := _SIZE.match(field))), None)
    if shape is None:
        return None
    width, height = int(shape[1]), int(shape[2])
    ratio = re.search(r"SAR (\d+):(\d+)", text)
    reshaped = ratio is not None and int(ratio[1]) != int(ratio[2]) and int(ratio[1]) > 0 and int(ratio[2]) > 0
    if reshaped and ratio is not None:
        width = max(1, round(width * int(ratio[1]) / int(ratio[2])))
    rate = re.search(r"([\d.]+)(k?) fps", text)
    start = re.search(r"\bstart (-?[\d.]+)", text)
    pixels = fields[1] if len(fields) > 1 else ""
    named = re.search(r"\b(bt709|bt470bg|smpte170m|bt2020nc|bt2020c|fcc|smpte240m)\b", pixels)
    # Untagged video: players take BT.601 for small pictures and BT.709 from 720 lines on.
    matrix = named[1] if named else ("bt709" if height >= 720 else "smpte170m")
    return VideoHeader(
        codec=fields[0].split(" ")[0],
        width=width,
        height=height,
        fps=float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0,
        start=float(start[1]) if start else 0.0,
        promised_seconds=None,
        has_alpha=_ALPHA_FORMAT.match(pixels) is not None,
        reshaped=reshaped,
        interlaced=re.search(r"\b(top|bottom) (first|coded first)", pixels) is not None,
        matrix={"bt2020c": "bt2020", "bt2020nc": "bt2020"}.get(matrix, matrix),
        decoder=None,
    )


def _add_side_data(header: VideoHeader, line: str) -> VideoHeader:
    if turn := re.match(r"\s*[Dd]isplay ?[Mm]atrix: rotation of (-?[\d.]+)", line):
        if round(float(turn[1])) % 180 == 90:
            return replace(header, width=header.height, height=header.width)
    elif re.match(r"\s*alpha_mode\s*: 1\b", line, re.IGNORECASE) and header.codec in ("vp8", "vp9"):
        # ffmpeg's own VP8 and VP9 decoders leave out the alpha that WebM carries beside the picture.
        return replace(header, has_alpha=True, decoder={"vp8": "libvpx", "vp9": "libvpx-vp9"}[header.codec])
    elif length := re.match(rf"\s*DURATION\s*: {_CLOCK}", line):
        return replace(header, promised_seconds=_seconds(length))
    return header


def _seconds(clock: re.Match[str]) -> float:
    return 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3])


def parse_metadata(text: str) -> dict[str, str]:
    """Global tags of ffmpeg's FFMETADATA1 text, names in lower case, escapes undone."""
    tags: dict[str, str] = {}
    body = re.split(r"(?m)^\[", text, maxsplit=1)[0]
    for line in re.findall(r"(?:\\.|[^\\\n])+", body, re.DOTALL):
        name, equals, value = line.partition("=")
        if equals and not name.startswith(";"):
            tags[name.lower()] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    return tags


def read_comment(path: Path, timeout: float = 60.0) -> str:
    """The comment tag of a video file, "" when it has none; ``VideoWriter`` keeps there what made the file.

    Raises:
        DataError: If the file cannot be read as video.
    """
    return read_header(path, timeout)[1].get("comment", "")
