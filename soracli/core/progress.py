"""How long work tells a person where it stands, without knowing who is listening.

Pipelines take a ``Reporter``; the command line gives one that draws bars on a terminal, tests and
library users may give none and get ``SilentReporter``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol


class Task(Protocol):
    """One piece of work in progress."""

    def advance(self, count: float = 1, **figures: float | str) -> None:
        """Count ``count`` more units done; ``figures`` are shown beside the bar (``loss=0.31``)."""


class Reporter(Protocol):
    """Where progress and notes for people go (never stdout)."""

    def note(self, text: str) -> None:
        """Show one line."""

    def task(self, label: str, total: float | None, unit: str) -> AbstractContextManager[Task]:
        """Begin a task of ``total`` units (None: unknown); a bar with rate and time left while it is open."""


class Preview(Protocol):
    """Who wants to see a video while it is made."""

    def show(self, path: Path, frames: Any, fps: float, num_frames: int) -> None:
        """Frames were written.

        Args:
            path: The file that they went to.
            frames: uint8 ``(T, H, W, 3)``, the newest last.
            fps: Frames a second of the video.
            num_frames: How many were written so far, with these.
        """


class _SilentTask:
    def advance(self, count: float = 1, **figures: float | str) -> None:
        """Say nothing."""


class SilentReporter:
    """A reporter that says nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator[Task]:
        """Yield a task that says nothing."""
        yield _SilentTask()
