"""How much a decoded video flickers where the original stands still.

A code that rounds each moment in its own way makes flat, quiet places shimmer. No error of single frames shows that,
and people see it first. Axes: T frames, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

STILL_LEVELS = 2
"""A pixel stands still from one frame to the next when none of its colours changes by more 8-bit levels than this: a
codec's rounding is allowed for, motion is not."""
LEAST_SHARE = 0.01
"""Least share of places that must stand still; a video with less has no figure."""


@dataclass(frozen=True, kw_only=True)
class Flicker:
    """Mean absolute change from frame to frame of places that stand still in the original, in 8-bit levels.

    Attributes:
        decoded: Of the decoded video.
        original: Of the original itself: its noise, at most ``STILL_LEVELS``.
        still: Share of places, over all pairs of neighbouring frames, that stand still.
    """

    decoded: float
    original: float
    still: float


def flicker(decoded: Tensor, frames: Tensor) -> Flicker | None:
    """Flicker of a video, mean over colours, places and pairs of neighbouring frames.

    Args:
        decoded: ``(T, H, W, 3)`` uint8.
        frames: The original.

    Returns:
        None when there is one frame only, or less than ``LEAST_SHARE`` of the places stand still.

    Raises:
        ValueError: If these are no two such videos alike.
    """
    if decoded.shape != frames.shape or frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(f"need two videos (T, H, W, 3) alike, got {tuple(decoded.shape)} and {tuple(frames.shape)}")
    if len(frames) < 2:
        return None
    change = frames.short().diff(dim=0).abs()  # (T - 1, H, W, 3)
    still = change.amax(3) <= STILL_LEVELS
    share = float(still.double().mean())
    if share < LEAST_SHARE:
        return None
    return Flicker(
        decoded=float(decoded.short().diff(dim=0).abs()[still].double().mean()),
        original=float(change[still].double().mean()),
        still=share,
    )
