"""Stopping on request: a signal sets a flag, the loop looks at it after each step, saves and leaves.

Torch-free, so that it can be in place before torch is imported: a signal that comes while no handler is there kills.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOP_SIGNALS = ("SIGINT", "SIGUSR1", "SIGTERM")
"""In rising weight: SIGTERM after SIGUSR1 counts as SIGTERM, for a job that is cancelled must not come back."""


@dataclass
class StopFlag:
    """Whether somebody asked to stop.

    Attributes:
        level: 0, or 1 plus the place in ``STOP_SIGNALS`` of the weightiest signal so far. A number, so that ranks can
            agree on the highest (``soracli.training.distributed.agree_on_stop``).
    """

    level: int = 0

    def __bool__(self) -> bool:
        """Whether the loop should stop."""
        return self.level > 0


def signal_name(level: int) -> str | None:
    """Name of the signal behind a level; None for 0."""
    return STOP_SIGNALS[level - 1] if level else None


@contextmanager
def kept_signals() -> Iterator[None]:
    """While open, stop signals that this process was started to ignore wait until ``stop_on_signals`` hears them.

    A batch script has SIGUSR1 and SIGTERM ignored, so that they do not kill a process that imports torch; so they would
    be lost. Linux keeps a signal that is blocked, even an ignored one. Nothing changes for a process that a person
    started.
    """
    numbers = [signal.Signals[name] for name in STOP_SIGNALS]
    ignored = [number for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ignored)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """While open, SIGINT, SIGUSR1 and SIGTERM set the flag; a second SIGINT raises KeyboardInterrupt.

    What ``kept_signals`` kept arrives at once. The handlers from before come back at the end. Outside the main thread,
    where Python allows no handlers, the flag is given but nothing sets it.
    """
    flag = StopFlag()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and flag.level > 0:
            raise KeyboardInterrupt
        flag.level = max(flag.level, 1 + STOP_SIGNALS.index(signal.Signals(number).name))

    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    numbers = [signal.Signals[name] for name in STOP_SIGNALS]
    before = {number: signal.signal(number, on_signal) for number in numbers}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield flag
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
