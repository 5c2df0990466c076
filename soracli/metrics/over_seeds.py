"""Whether two trainings differ by more than their seeds do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Difference:
    """One training against another.

    Attributes:
        mean: Over seeds; above 0 where the first has more.
        spread: Of the differences; None with one seed.
    """

    mean: float
    spread: float | None

    @property
    def is_clear(self) -> bool:
        """Whether the mean is beyond the spread; never with one seed."""
        return self.spread is not None and abs(self.mean) > self.spread


def difference(first: Sequence[float], second: Sequence[float], counted: Sequence[int] = ()) -> Difference:
    """The mean of the differences at each seed, and their standard deviation.

    Shares differ by chance too, because only so many were asked: the standard error of their difference is added, as
    squares are. Two seeds give a standard deviation that is rough itself, so this is a rule to say "no difference" by,
    not a test of significance.

    Args:
        first: Figures by seed.
        second: At the same seeds.
        counted: If the figures are shares: of how many, by seed, in each of the two.

    Raises:
        ValueError: If there are not as many of each.
    """
    apart = [one - other for one, other in zip(first, second, strict=True)]
    if len(apart) < 2:
        return Difference(fmean(apart), None)
    variance = sum(share * (1 - share) for share in (fmean(first), fmean(second))) / sum(counted) if counted else 0.0
    return Difference(fmean(apart), math.hypot(stdev(apart), math.sqrt(variance)))
