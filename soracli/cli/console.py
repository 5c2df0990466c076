"""What people and programs read: progress and notes on stderr, results on stdout. The only file that imports rich."""

from __future__ import annotations

import json
import math
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO

from soracli.cli.pace import Pace, duration, figures_text
from soracli.core.progress import Task

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID

Colour = tuple[int, int, int]
_PICTURE_COLUMNS = 40
_OTHER_LINES = 6
_PICTURE_INTERVAL = 0.3  # seconds between pictures
_PLAIN_INTERVAL = 5.0  # seconds between plain lines: a log of hours stays readable


class TerminalReporter:
    """Shows work on stderr: bars on a terminal, plain lines every few seconds elsewhere.

    Args:
        stream: Where to write; None means the stderr of the moment.
        clock: Seconds from any origin.
        refreshes: How often a second a terminal is drawn anew.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic, refreshes: float = 10
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._refreshes = refreshes
        self._progress: Progress | None = None
        self._picture: list[RenderableType] = []

    def note(self, text: str) -> None:
        """Show one line, above the bars if there are any."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator[Task]:
        """Begin a task of ``total`` units (None: unknown) and show it while it is open; tasks may nest."""
        if not self._stream.isatty():
            task = _PlainTask(label, total, unit, self._stream, self._clock)
            try:
                yield task
            finally:
                task.close()
            return
        outermost = self._progress is None
        if self._progress is None:
            self._progress = _bars(self._stream, self._refreshes, self._picture)
            self._progress.start()
        bar = self._progress.add_task(label, total=total, count="", pace="", figures="")
        try:
            yield _BarTask(self._progress, bar, Pace(total), unit, self._clock)
        finally:
            if outermost:
                self._picture.clear()
                self._progress.stop()
                self._progress = None
            else:
                self._progress.refresh()  # a short task would else vanish before it was ever drawn
                self._progress.remove_task(bar)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody sees bars."""
        return self._stream.isatty()

    def now(self) -> float:
        """Seconds from any origin."""
        return self._clock()

    def picture_columns(self) -> int:
        """Characters a line that a picture can have under the bars; 0 where none can be drawn."""
        if self._progress is None:
            return 0
        width, height = self._progress.console.size
        return max(0, min(_PICTURE_COLUMNS, width, 2 * (height - _OTHER_LINES)))

    def draw(self, picture: Sequence[Sequence[tuple[Colour, Colour]]]) -> None:
        """Show a picture under the bars while a task is open: of each character the upper and the lower colour."""
        self._picture[:] = [_blocks(picture)]


class TerminalPreview:
    """Shows a video while it is made: the newest frame under the bars of a terminal; elsewhere one line for each video.

    Args:
        reporter: Where to.
    """

    def __init__(self, reporter: TerminalReporter) -> None:
        self._reporter = reporter
        self._drawn_at = -math.inf
        self._looks_again: dict[Path, float] = {}

    def show(self, path: Path, frames: Any, fps: float, num_frames: int) -> None:
        """Frames were written to a file; see ``soracli.core.progress.Preview``."""
        if not self._reporter.is_terminal:
            self._tell(path, fps, num_frames)
            return
        now, columns = self._reporter.now(), self._reporter.picture_columns()
        if columns and now - self._drawn_at >= _PICTURE_INTERVAL:
            from soracli.data.half_blocks import half_blocks

            self._reporter.draw(half_blocks(frames[-1], columns))
            self._drawn_at = now

    def _tell(self, path: Path, fps: float, num_frames: int) -> None:
        """Say once what plays: what was written lies in the encoder for a while, so the file is asked."""
        if num_frames < self._looks_again.get(path, fps):
            return
        from soracli.data.video_probe import playable_seconds

        seconds = playable_seconds(path)
        self._looks_again[path] = num_frames + fps if seconds < 1 else math.inf
        if seconds >= 1:
            self._reporter.note(f"{path} plays already, {seconds:.1f} seconds of it")


class _BarTask:
    """One bar on a terminal."""

    def __init__(self, progress: Progress, bar: TaskID, pace: Pace, unit: str, clock: Callable[[], float]) -> None:
        self._progress, self._bar, self._pace, self._unit, self._clock = progress, bar, pace, unit, clock
        self._figures: dict[str, float | str] = {}

    def advance(self, count: float = 1, **figures: float | str) -> None:
        self._pace.advance(count, self._clock())
        self._figures |= figures
        self._progress.update(
            self._bar,
            completed=self._pace.done,
            count=self._pace.count_text(self._unit),
            pace=self._pace.rate_text(self._unit),
            figures=figures_text(self._figures),
        )


class _PlainTask:
    """One line every few seconds, and one at the end."""

    def __init__(self, label: str, total: float | None, unit: str, stream: TextIO, clock: Callable[[], float]) -> None:
        self._label, self._unit, self._stream, self._clock = label, unit, stream, clock
        self._pace = Pace(total)
        self._begin = self._shown = clock()
        self._figures: dict[str, float | str] = {}

    def advance(self, count: float = 1, **figures: float | str) -> None:
        now = self._clock()
        self._pace.advance(count, now)
        self._figures |= figures
        if now - self._shown >= _PLAIN_INTERVAL:
            self._shown = now
            self._show(self._pace.rate_text(self._unit))

    def close(self) -> None:
        self._show(f"in {duration(self._clock() - self._begin)}")

    def _show(self, pace: str) -> None:
        parts = [self._pace.count_text(self._unit), pace, figures_text(self._figures)]
        print(f"{self._label}: {', '.join(filter(None, parts))}", file=self._stream, flush=True)


def print_result(text: object) -> None:
    """One line of the result on stdout, such as the path of what was made."""
    print(text, flush=True)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout, columns aligned by the width that characters take on a terminal."""
    cells = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """A value as JSON on stdout; paths become text, numbers that JSON lacks (NaN, infinity) become null."""
    print(json.dumps(_json_value(value), indent=2, ensure_ascii=False, allow_nan=False), flush=True)


def _bars(stream: TextIO, refreshes: float, below: Sequence[RenderableType]) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    class Bars(Progress):
        """Bars, and what is shown under them at the moment."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            yield from below

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[pace]}", markup=False),
        TextColumn("{task.fields[figures]}", markup=False),
        console=Console(file=stream),
        refresh_per_second=refreshes,
    )


def _blocks(picture: Sequence[Sequence[tuple[Colour, Colour]]]) -> RenderableType:
    """Upper half blocks, rendered once for all refreshes."""
    from rich.color import Color
    from rich.segment import Segment, Segments
    from rich.style import Style

    drawn = list[Segment]()
    for line in picture:
        for upper, lower in line:
            drawn.append(Segment("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))))
        drawn.append(Segment.line())
    return Segments(drawn)


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value


def _width(text: str) -> int:
    """Columns that ``text`` takes: East Asian wide characters and emoji two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
