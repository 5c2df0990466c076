"""Human units of the command line: seconds, frame rates, sizes, intervals; errors name the nearest valid thing.

Sizes come in as WIDTHxHEIGHT (as in ffmpeg) and go out in the order of this code: (height, width).
"""

from __future__ import annotations

import math
import re
from typing import Final

from soracli.core.errors import UsageError

_DURATION = re.compile(
    r"(?:(?P<h>\d+(?:\.\d+)?)\s*h)?\s*(?:(?P<m>\d+(?:\.\d+)?)\s*m)?\s*(?:(?P<s>\d+(?:\.\d+)?)\s*s?)?", re.ASCII
)
_CLOCK = re.compile(r"(\d{1,3}):(\d\d)", re.ASCII)
_FPS = re.compile(r"(\d+(?:\.\d+)?)(?:/(\d+))?\s*(?:fps|hz)?", re.ASCII | re.IGNORECASE)
_PAIR = re.compile(r"(\d{1,6})\s*[xX×*]\s*(\d{1,6})", re.ASCII)
_LINES = re.compile(r"(\d{1,5})p", re.ASCII | re.IGNORECASE)
_INTERVAL = re.compile(r"(\d*\.?\d+)\s*:\s*(\d*\.?\d+)", re.ASCII)
_ASPECT = re.compile(r"(\d+(?:\.\d+)?)\s*[:/xX]\s*(\d+(?:\.\d+)?)", re.ASCII)

MAX_SECONDS: Final = 7 * 24 * 3600.0
"""Longest duration anybody may ask for: a week. Catches milliseconds given as seconds."""

MAX_FPS: Final = 1000.0
"""Highest frame rate that is taken for one."""

MAX_SIDE: Final = 32768
"""Longest side of a picture, in pixels."""


def parse_seconds(text: str | float, option: str = "--seconds") -> float:
    """Seconds of ``8s``, ``1m``, ``1m30s``, ``2h``, ``90`` or ``1.5``.

    Args:
        text: What the user wrote; a number is taken as seconds.
        option: The option's name, for the error.

    Returns:
        Seconds, above 0 and finite.

    Raises:
        UsageError: If it is no duration, not above 0, or longer than a week.
    """
    value = _seconds_of(text, option)
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"{option} must be above 0, got {text}; write for example 8s or 1m30s")
    return value


def parse_moment(text: str | float, option: str) -> float:
    """Seconds after a beginning, as ``parse_seconds`` reads them, and 0.

    Raises:
        UsageError: If it is no duration, below 0, or longer than a week.
    """
    value = _seconds_of(text, option)
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"{option} must be 0 or later, got {text}; write for example 0s or 1m30s")
    return value


def parse_span(text: str, option: str = "START:END") -> tuple[float, float | None]:
    """Two moments of ``8s:12s``; without the first it is 0, without the second None, which is the end.

    Raises:
        UsageError: If it is no span, or ends before it begins.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise UsageError(f"{option} {text!r} is no span; write for example 8s:12s, 1m10s:1m15s, :2s or 58s:")
    start = parse_moment(parts[0], option) if parts[0].strip() else 0.0
    end = parse_moment(parts[1], option) if parts[1].strip() else None
    if end is not None and end <= start:
        turned = f"; did you mean {parts[1].strip()}:{parts[0].strip()}?" if 0 < end < start else ""
        raise UsageError(f"{option} {text!r} does not end after it begins{turned}")
    return start, end


def _seconds_of(text: str | float, option: str) -> float:
    """Seconds of a duration, not beyond a week; numbers are taken as they are."""
    if isinstance(text, str):
        words = text.strip().lower()
        found = _DURATION.fullmatch(words)
        if not words or found is None or not any(found.groups()):
            raise UsageError(f"{option} {text!r} is no duration; {_nearest_duration(words)}")
        hours, minutes, seconds = (float(found[name] or 0) for name in ("h", "m", "s"))
        value = 3600 * hours + 60 * minutes + seconds
    else:
        value = float(text)
    if MAX_SECONDS < value < math.inf:
        raise UsageError(f"{option} {text} is longer than a week; seconds have no suffix or an s: 8s, 1m30s")
    return value


def _nearest_duration(words: str) -> str:
    if clock := _CLOCK.fullmatch(words):
        return f"did you mean {int(clock[1])}m{int(clock[2])}s? Durations are written 8s, 1m, 1m30s or 2h"
    number = re.match(r"-?\s*(\d+(?:\.\d+)?)", words)
    if number is None:
        return "write for example 8s, 1m, 1m30s or 2h"
    rest = words[number.end() :].strip()
    if rest.startswith("ms") or rest.startswith("milli"):
        return f"did you mean {float(number[1]) / 1000:g}s? Milliseconds are not taken"
    unit = rest[:1] if rest[:1] in ("h", "m", "s") else "s"
    return f"did you mean {number[1]}{unit}? Durations are written 8s, 1m, 1m30s or 2h"


def format_seconds(seconds: float) -> str:
    """A duration as people write it: ``1.5s``, ``1m30s``, ``2h05m``."""
    if seconds < 60:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s" if whole % 60 else f"{whole // 60}m"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes % 60 else f"{minutes // 60}h"


def parse_fps(text: str | float, option: str = "--fps") -> float:
    """Frames a second of ``24``, ``24fps``, ``29.97`` or ``30000/1001``.

    Raises:
        UsageError: If it is no rate, not above 0, or above 1000.
    """
    if isinstance(text, str):
        found = _FPS.fullmatch(text.strip())
        if found is None or (found[2] is not None and int(found[2]) == 0):
            number = re.search(r"\d+(?:\.\d+)?", text)
            hint = f"did you mean {number[0]}fps?" if number else "write for example 24 or 24fps"
            raise UsageError(f"{option} {text!r} is no frame rate; {hint}")
        value = float(found[1]) / int(found[2] or 1)
    else:
        value = float(text)
    if not math.isfinite(value) or not 0 < value <= MAX_FPS:
        raise UsageError(
            f"{option} must be above 0 and at most {MAX_FPS:g}, got {text}; the usual ones are 12, 24 and 30"
        )
    return value


def parse_interval(text: str, option: str = "--guidance-interval") -> tuple[float, float]:
    """Two noise levels of ``0.1:0.8``, the lower one first.

    Raises:
        UsageError: If it is no interval, empty, or not within 0 and 1.
    """
    found = _INTERVAL.fullmatch(text.strip())
    low, high = (float(found[1]), float(found[2])) if found else (math.nan, math.nan)
    if 0 <= high < low <= 1:
        raise UsageError(f"{option} {text!r} ends before it begins; did you mean {high:g}:{low:g}?")
    if not 0 <= low < high <= 1:
        raise UsageError(f"{option} {text!r} is no interval between 0 (video) and 1 (noise); write for example 0.1:0.8")
    return low, high


def parse_aspect(text: str, option: str = "--aspect") -> float:
    """Width divided by height of ``16:9`` or ``1.78``.

    Raises:
        UsageError: If it is no aspect, or more extreme than 1:16 or 16:1.
    """
    found = _ASPECT.fullmatch(text.strip())
    try:
        value = float(found[1]) / float(found[2]) if found else float(text)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 1 / 16 <= value <= 16:
        raise UsageError(
            f"{option} {text!r} is no aspect between 1:16 and 16:1; the usual ones are 1:1, 4:3, 16:9 and 9:16"
        )
    return value


def parse_size(text: str, aspect: str | None = None, option: str = "--size") -> tuple[int, int]:
    """Height and width of ``128x128`` (WIDTHxHEIGHT) or of ``480p`` with an aspect.

    ``480p`` says the *shorter* side, as players do for upright video too: with 9:16 it is 480 wide. The other side is
    rounded to the nearest even number.

    Args:
        text: What the user wrote.
        aspect: ``16:9`` and the like; only with ``480p`` (default there: 16:9).
        option: The option's name, for the error.

    Returns:
        ``(height, width)`` in pixels.

    Raises:
        UsageError: If it is no size, a side is 0 or beyond 32768, or an aspect is given with both sides.
    """
    words = text.strip()
    pair = _PAIR.fullmatch(words)
    if pair is not None:
        width, height = int(pair[1]), int(pair[2])
        if aspect is not None:
            raise UsageError(
                f"--aspect {aspect} goes with one side, as in {option} {min(width, height)}p; {text} has both"
            )
    else:
        lines = _LINES.fullmatch(words)
        if lines is None:
            raise UsageError(f"{option} {text!r} is no size; {_nearest_size(words)}")
        side, ratio = int(lines[1]), parse_aspect(aspect or "16:9")
        height = side if ratio >= 1 else 2 * round(side / ratio / 2)
        width = 2 * round(side * ratio / 2) if ratio > 1 else side
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise UsageError(f"{option} {text} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}; write for example 128x128 or 480p")
    return height, width


def _nearest_size(words: str) -> str:
    numbers = re.findall(r"\d{1,5}", words)
    if len(numbers) >= 2:
        return f"did you mean {numbers[0]}x{numbers[1]} (WIDTHxHEIGHT)?"
    if numbers:
        return f"did you mean {numbers[0]}x{numbers[0]} or {numbers[0]}p?"
    return "write WIDTHxHEIGHT, for example 128x128, or 480p with --aspect 16:9"
