"""How a long video changes from its beginning to its end: figures per window, freezing and repetition.

A model that feeds on its own output may fade, blur, oversaturate, stand still or run in circles. None of these figures
needs the original. Videos are ``(T, H, W, 3)`` uint8; figures are on a scale where black is 0 and white is 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

WINDOW_SECONDS = 5.0
FROZEN_MOTION = 5e-4
"""Mean absolute change from frame to frame below which a window counts as frozen: an eighth of an 8-bit step."""
_THUMBNAIL = 16


@dataclass(frozen=True, kw_only=True)
class WindowFigures:
    """Means over one window.

    Attributes:
        start: Seconds from the beginning of the video.
        seconds: Length.
        colour: Mean red, green and blue.
        saturation: Mean over pixels of (max - min) / max of the three colours (HSV), 0 for black.
        sharpness: Mean absolute difference between neighbouring pixels' grey.
        contrast: Standard deviation of grey inside a frame, mean over frames.
        colourfulness: Spread and strength of opponent colours inside a frame, mean over frames, see ``colourfulness``.
        motion: Mean absolute difference between neighbouring frames, 0 for a single frame.
        frozen: Whether ``motion`` is below ``FROZEN_MOTION``.
    """

    start: float
    seconds: float
    colour: tuple[float, float, float]
    saturation: float
    sharpness: float
    contrast: float
    colourfulness: float
    motion: float
    frozen: bool


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Change between two windows.

    Attributes:
        colour: Distance between mean colours: root mean square over red, green and blue.
        sharpness: Per cent of the first, above 0 for more; 0 if both are 0, infinite if only the first is.
        saturation: Likewise.
        contrast: Likewise.
        colourfulness: Likewise.
    """

    colour: float
    sharpness: float
    saturation: float
    contrast: float
    colourfulness: float


def window_figures(video: Tensor, fps: float, seconds: float = WINDOW_SECONDS) -> list[WindowFigures]:
    """Figures of each window, in order.

    Args:
        video: ``(T, H, W, 3)`` uint8, T at least 1.
        fps: Frames a second.
        seconds: Length of a window; a rest shorter than half of it joins the window before.

    Raises:
        ValueError: If the array is no such video.
    """
    return [_figures(video[first:last], first / fps, fps) for first, last in window_ranges(video, fps, seconds)]


def drift_between(first: WindowFigures, last: WindowFigures) -> Drift:
    """How the second window differs from the first."""
    distance = sum((b - a) ** 2 for a, b in zip(first.colour, last.colour, strict=True)) / 3
    return Drift(
        colour=distance**0.5,
        sharpness=per_cent_change(first.sharpness, last.sharpness),
        saturation=per_cent_change(first.saturation, last.saturation),
        contrast=per_cent_change(first.contrast, last.contrast),
        colourfulness=per_cent_change(first.colourfulness, last.colourfulness),
    )


def per_cent_change(first: float, last: float) -> float:
    """How much more the last is, per cent of the first; 0 if both are 0, infinite if only the first is."""
    if first == 0:
        return 0.0 if last == 0 else float("inf")
    return 100 * (last - first) / first


def colourfulness(frames: Tensor) -> Tensor:
    """How colourful frames ``(T, H, W, 3)`` in [0, 1] are, ``(T,)``: 0 for grey.

    Source: Hasler and Suesstrunk 2003, Measuring colourfulness in natural images, section 7 (their M3), where white
    is 1 and not 255.
    """
    red, green, blue = frames.flatten(1, 2).unbind(-1)  # (T, H W)
    across, along = red - green, (red + green) / 2 - blue
    spread = (across.var(1, correction=0) + along.var(1, correction=0)).sqrt()
    strength = (across.mean(1).square() + along.mean(1).square()).sqrt()
    return spread + 0.3 * strength


def largest_repeat(video: Tensor, fps: float, seconds: float = WINDOW_SECONDS) -> float:
    """How much some stretch of the video looks like an earlier window: 1 for an exact repeat.

    The correlation over space and time of how 16 x 16 grey thumbnails change from frame to frame, less their mean
    change over the stretch, between each window and every later stretch of the same length that does not overlap it,
    wherever it begins. So a picture that stands still or fades steadily scores 0; motion that is truly periodic scores
    as high as a repeat.

    Args:
        video: ``(T, H, W, 3)`` uint8.
        fps: Frames a second.
        seconds: Length of a window.

    Returns:
        The largest correlation, -1 to 1; 0 for a video shorter than two windows.
    """
    _check(video)
    length = max(1, round(seconds * fps))
    total = len(video)
    if total < 2 * length:
        return 0.0
    grey = torch.stack([_thumbnail(frame) for frame in video], 1).double()  # (D, T)
    change = grey.diff(dim=1)  # (D, T - 1)
    steps = max(1, length - 1)
    norms = _stretch_norms(change, steps)
    floor = FROZEN_MOTION * (steps * len(grey)) ** 0.5
    found: list[float] = []
    for start in range(0, total - 2 * length + 1, length):
        window = change[:, start : start + steps]
        window = window - window.mean(1, keepdim=True)
        products = functional.conv1d(change[None, :, start + length :], window[None])[0, 0]
        later = norms[start + length :]
        usable = (later > floor) & (norms[start] > floor)
        found += (products[usable] / (norms[start] * later[usable])).tolist()
    return max(found, default=0.0)


def _stretch_norms(change: Tensor, steps: int) -> Tensor:
    """Norm of every stretch of ``steps`` columns of ``(D, T)`` less its mean column, by where it begins."""
    squares, sums = (
        functional.pad(values.cumsum(1), (1, 0)).unfold(1, steps + 1, 1)[..., [0, -1]].diff(dim=-1)[..., 0]
        for values in (change.square(), change)
    )
    return (squares - sums.square() / steps).sum(0).clamp(min=0).sqrt()


def window_ranges(video: Tensor, fps: float, seconds: float = WINDOW_SECONDS) -> Iterator[tuple[int, int]]:
    """First frame of each window and the one after its last; see ``window_figures``.

    Raises:
        ValueError: If the array is no such video.
    """
    _check(video)
    length = max(1, round(seconds * fps))
    count = max(1, int(len(video) / length + 0.5))
    for index in range(count):
        yield index * length, len(video) if index == count - 1 else (index + 1) * length


def _figures(window: Tensor, start: float, fps: float) -> WindowFigures:
    colours = window.float() / 255
    highest, lowest = colours.amax(-1), colours.amin(-1)
    grey = colours.mean(-1)
    across, down = grey.diff(dim=2).abs(), grey.diff(dim=1).abs()
    steps = across.numel() + down.numel()
    motion = float(colours.diff(dim=0).abs().mean()) if len(window) > 1 else 0.0
    red, green, blue = colours.mean((0, 1, 2)).tolist()
    return WindowFigures(
        start=start,
        seconds=len(window) / fps,
        colour=(red, green, blue),
        saturation=float(((highest - lowest) / highest.clamp(min=1e-6)).mean()),
        sharpness=float((across.sum() + down.sum()) / max(steps, 1)),
        contrast=float(grey.flatten(1).std(1, correction=0).mean()),
        colourfulness=float(colourfulness(colours).mean()),
        motion=motion,
        frozen=motion < FROZEN_MOTION,
    )


def _thumbnail(frame: Tensor) -> Tensor:
    grey = frame.float().mean(-1) / 255
    return functional.adaptive_avg_pool2d(grey[None], _THUMBNAIL).flatten()


def _check(video: Tensor) -> None:
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != torch.uint8 or len(video) < 1:
        raise ValueError(f"need a video (T, H, W, 3) uint8, got {tuple(video.shape)} {video.dtype}")
