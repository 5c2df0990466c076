"""Notices when a training falls apart, while the last good state is still there.

Three things are watched: numbers that are not finite, a figure that runs away from what it used to be, and one that
sinks to nothing. A step is an alarm when any of them holds; the training is given up as diverged when alarms come
many times in a row, and meanwhile no checkpoint is worth writing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from soracli.training.config import GuardConfig

_MEMORY = 0.98
"""Of the running averages: what they hold is about the last fifty steps without an alarm."""


@dataclass
class Guard:
    """What was normal until now.

    Attributes:
        config: When to be alarmed.
        ceilings: Figures that must not run away: losses and sizes. While one is usually below 0, as a loss with an
            entropy in it may be, no ratio says anything of it, and it is not watched.
        floors: Smallest good value of figures that must not sink to nothing.
        usual: Running average of each watched figure over steps without an alarm.
        seen: Steps that those averages hold.
        alarms: Alarms in a row.
        reason: What the last alarm was about, "" without one.
    """

    config: GuardConfig
    ceilings: tuple[str, ...] = ()
    floors: Mapping[str, float] = field(default_factory=dict)
    usual: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    alarms: int = 0
    reason: str = ""

    @property
    def is_calm(self) -> bool:
        """Whether the last step was good: only then is the state worth keeping."""
        return self.alarms == 0

    @property
    def has_diverged(self) -> bool:
        """Whether alarms came so often in a row that the state is lost."""
        return self.alarms >= self.config.patience

    def watch(self, figures: Mapping[str, float]) -> None:
        """Look at the figures of one step, the same on every rank."""
        self.reason = self._alarm(figures)
        if self.reason:
            self.alarms += 1
            return
        self.alarms = 0
        self.seen += 1
        weight = max(1 - _MEMORY, 1 / self.seen)
        for name in self.ceilings:
            if name in figures:
                before = self.usual.get(name, figures[name])
                self.usual[name] = before + weight * (figures[name] - before)

    def give_up(self, reason: str) -> None:
        """Count the state as lost at once."""
        self.alarms, self.reason = self.config.patience, reason

    def forget(self) -> None:
        """Begin again, after going back to an earlier state."""
        self.usual, self.seen, self.alarms, self.reason = {}, 0, 0, ""

    def _alarm(self, figures: Mapping[str, float]) -> str:
        for name, value in figures.items():
            if not math.isfinite(value):
                return f"{name} is {value:g}"
        for name in self.ceilings:
            usual = self.usual.get(name, math.inf)
            if usual > 0 and self.seen >= self.config.warmup and figures.get(name, 0.0) > self.config.ratio * usual:
                return f"{name} is {figures[name]:.3g}, {figures[name] / usual:.1f} times what it was"
        for name, least in self.floors.items():
            if self.seen >= self.config.warmup and figures.get(name, math.inf) < least:
                return f"{name} is {figures[name]:.3g}, below {least:g}"
        return ""
