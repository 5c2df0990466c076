"""One sample's stretch of a packed sequence."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """One sample's stretch of the packed sequence.

    Attributes:
        length: Its tokens.
        mask: ``(length, length)`` bool, which tokens (columns) each token (row) sees; None: all. A past is seen by all.
    """

    length: int
    mask: Tensor | None = None
