"""Pictures and animations through Pillow: png, jpeg, bmp, gif, and webp, whose animations not every ffmpeg decodes.

Frames are decoded one at a time and sizes are checked before anything is decoded, so a small file cannot unfold into
more memory than one frame of ``MAX_PIXELS`` takes. The frame durations of animations are respected; durations of at
most 10 ms count as 100 ms, as in browsers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from soracli.core.errors import DataError
from soracli.data.ffmpeg import MAX_PIXELS
from soracli.data.frame_fit import Fit, Placement, place_frame
from soracli.data.timestamps import timing_of
from soracli.data.video_info import FRAME_SLACK, MAX_FRAMES, VideoInfo

Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

WEBP_PIXELS: Final = 4096 * 3072
"""Largest frame of a webp: its decoder holds three of them, 4 bytes a pixel, whatever is in the file."""
_SIGNATURES: Final = (b"GIF8", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)


def is_picture_file(path: Path) -> bool:
    """Whether the first bytes are those of a png, jpeg, bmp, gif or webp; the name does not count."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Sizes are judged below, by one cap for every kind of file.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError:
        raise DataError(f"{path}: is damaged: its beginning is that of a picture, the rest is not") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: is larger than the {MAX_PIXELS} pixels read here") from None
    except _BROKEN as error:
        raise DataError(f"{path}: is damaged: {error}") from None
    limit = WEBP_PIXELS if picture.format == "WEBP" else MAX_PIXELS
    if picture.width * picture.height > limit:
        picture.close()
        raise DataError(f"{path}: {picture.width}x{picture.height} is larger than the {limit} pixels read here")
    return picture


def _timed_frames(path: Path, picture: Image.Image) -> Iterator[tuple[Image.Image, float, float]]:
    """Each frame, upright, with the seconds when it begins and ends. The picture is reused: copy what you keep."""
    try:
        count = getattr(picture, "n_frames", 1)  # which reads through an animation
    except _BROKEN as error:
        raise DataError(f"{path}: is damaged: {error}") from None
    if count > MAX_FRAMES:
        raise DataError(f"{path}: has {count} frames, more than are read from one file")
    begin = 0.0
    for index in range(count):
        try:
            picture.seek(index)
            picture.load()
            if count == 1:
                ImageOps.exif_transpose(picture, in_place=True)  # without a second copy of one that stands upright
        except _BROKEN as error:
            raise DataError(f"{path}: is damaged at frame {index + 1} of {count}: {error}") from None
        milliseconds = float(picture.info.get("duration") or 0)
        end = begin + (milliseconds if milliseconds > 10 else 100.0) / 1000
        yield picture, begin, end
        begin = end


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def probe_picture(path: Path) -> VideoInfo:
    """Size, rate and exact number of frames of a picture or animation; every frame is decoded once.

    A picture is one frame at 1 fps.

    Raises:
        DataError: If the file is damaged, too large, or no picture.
    """
    with _open(path) as picture:
        times: list[float] = []
        end, alpha, size = 0.0, False, picture.size
        for frame, begin, frame_end in _timed_frames(path, picture):
            times.append(begin)
            end, alpha, size = frame_end, alpha or _has_alpha(frame), frame.size
    moving = len(times) > 1
    timing = timing_of(times, end if moving else 1.0, 0.0, 0.0 if moving else 1.0)
    if timing.num_frames > MAX_FRAMES:
        raise DataError(f"{path}: its frames last {end:.0f} s, more than {MAX_FRAMES} frames")
    return VideoInfo(
        path=path,
        width=size[0],
        height=size[1],
        fps=timing.fps,
        num_frames=timing.num_frames,
        seconds=timing.num_frames / timing.fps,
        kind="animation" if moving else "image",
        variable=timing.variable,
        has_alpha=alpha,
        damage="",
    )


def stream_picture_frames(
    path: Path,
    *,
    first: int,
    num_frames: int,
    fps: float,
    size: tuple[int, int] | None,
    fit: Fit,
    background: tuple[int, int, int] | None,
) -> Iterator[Frames]:
    """Frames of a picture or animation at a constant rate, one at a time.

    Args:
        path: The file.
        first: Index of the first wanted frame at ``fps``.
        num_frames: How many are wanted; fewer come when the file ends earlier.
        fps: Frames a second.
        size: ``(height, width)``, or None for the file's own.
        fit: How frames are brought to that size.
        background: Colour under transparent parts; None gives RGBA.

    Yields:
        uint8 arrays ``(H, W, 3)``, or ``(H, W, 4)`` without a background.

    Raises:
        DataError: If the file is damaged or too large.
    """
    wanted, stop = first, first + num_frames
    with _open(path) as picture:
        last = None
        for frame, _, end in _timed_frames(path, picture):
            # A frame is shown until the next one's time, less the slack.
            until = min(stop, _first_index_at(end, fps))
            if until > wanted:
                shown = _as_array(frame, size, fit, background)
                while wanted < until:
                    yield shown
                    wanted += 1
            if wanted >= stop:
                return
            last = frame
        # The last frame is held for the part of an output frame that is left, as ffmpeg does.
        if wanted == stop - 1 and last is not None:
            yield _as_array(last, size, fit, background)


def _first_index_at(time: float, fps: float) -> int:
    # Rounded to a nanosecond's worth, so that sums of milliseconds do not tip over.
    return max(0, int(np.ceil(round(time * fps - FRAME_SLACK, 6))))


def _as_array(
    frame: Image.Image, size: tuple[int, int] | None, fit: Fit, background: tuple[int, int, int] | None
) -> Frames:
    if frame.mode.startswith(("I", "F")):
        # 16-bit greys: Pillow would clip them to 255 instead of scaling.
        values = np.asarray(frame, dtype=np.float32)
        frame = Image.fromarray(np.divide(values, 257, out=np.empty_like(values)).clip(0, 255).astype(np.uint8))
    picture = frame.convert("RGBA") if _has_alpha(frame) or background is None else frame.convert("RGB")
    if background is not None and picture.mode == "RGBA":
        below = Image.new("RGBA", picture.size, (*background, 255))
        picture = Image.alpha_composite(below, picture).convert("RGB")
    placement = place_frame(picture.height, picture.width, size, fit)
    return np.asarray(_fit_picture(picture, placement, background or (0, 0, 0, 0)), dtype=np.uint8)


def _fit_picture(picture: Image.Image, placement: Placement, border: tuple[int, ...]) -> Image.Image:
    height, width = placement.scaled
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    if placement.scaled == placement.size:
        return picture
    top, left = placement.offset
    canvas = Image.new(picture.mode, (placement.size[1], placement.size[0]), border)
    canvas.paste(picture, (-left, -top))
    return canvas
