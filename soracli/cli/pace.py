"""How fast work goes and how long it still takes, in words."""

from __future__ import annotations

from collections import deque

_WINDOW = 60.0  # seconds; long enough to be calm, short enough to follow a change of speed


class Pace:
    """Rate and time left of counted work, measured over the last minute.

    The first count only sets the starting point: a resumed run counts thousands of steps at once that took no time.
    """

    def __init__(self, total: float | None) -> None:
        self.total = total
        self.done = 0.0
        self._points: deque[tuple[float, float]] = deque()

    def advance(self, count: float, now: float) -> None:
        """Count ``count`` more units done at time ``now`` (seconds, any origin)."""
        self.done += count
        self._points.append((now, self.done))
        while len(self._points) > 2 and self._points[0][0] < now - _WINDOW:
            self._points.popleft()

    @property
    def rate(self) -> float | None:
        """Units a second; None before two counts have been seen."""
        if len(self._points) < 2:
            return None
        (begin, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - begin) if end > begin and last > first else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end at this rate; None while unknown."""
        if self.total is None or self.rate is None:
            return None
        return max(0.0, self.total - self.done) / self.rate

    def count_text(self, unit: str) -> str:
        """Such as ``120/4000 steps``."""
        total = "" if self.total is None else f"/{_number(self.total)}"
        return f"{_number(self.done)}{total} {unit}"

    def rate_text(self, unit: str) -> str:
        """Such as ``2.4 steps/s, 27m 03s left``; empty while unknown."""
        if self.rate is None:
            return ""
        singular = unit.removesuffix("s") or unit
        rate = f"{self.rate:.3g} {unit}/s" if self.rate >= 0.1 else f"{1 / self.rate:.3g} s/{singular}"
        return rate if self.seconds_left is None else f"{rate}, {duration(self.seconds_left)} left"


def duration(seconds: float) -> str:
    """A length of time for people: ``8s``, ``1m 05s``, ``2h 03m``, ``3d 04h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def figures_text(figures: dict[str, float | str]) -> str:
    """Figures beside a bar: ``loss=0.31 lr=0.001``."""
    return " ".join(f"{name}={value if isinstance(value, str) else f'{value:.4g}'}" for name, value in figures.items())


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"
