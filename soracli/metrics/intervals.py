"""Shares with the interval that their number of trials allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.959963984540054
"""Quantile of the standard normal that leaves 2.5 % above."""


@dataclass(frozen=True)
class Share:
    """How many of how many, with Wilson's 95 % interval.

    Attributes:
        right: Successes.
        total: Trials, at least 1.
        share: ``right / total``.
        low: Lower end of the interval.
        high: Upper end.
    """

    right: int
    total: int
    share: float
    low: float
    high: float


def wilson_share(right: int, total: int) -> Share:
    """A share with its 95 % score interval, which holds for few trials and for shares near 0 and 1 too.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference; no continuity correction.

    Args:
        right: Successes, 0 to ``total``.
        total: Trials.

    Raises:
        ValueError: If there are no trials, or more successes than trials.
    """
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"need 0 to {total} of at least 1 trial, got {right}")
    share, square = right / total, _Z**2 / total
    middle = (share + square / 2) / (1 + square)
    reach = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    # At the ends themselves the interval ends there too, whatever rounding says.
    low, high = (middle - reach if right else 0.0), (middle + reach if right < total else 1.0)
    return Share(right, total, share, low, high)
