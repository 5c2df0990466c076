"""How a user's video is brought to a model's rate and size, and what is made for it back to its own; torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fitted:
    """A video as a model sees it.

    Attributes:
        stride: The model sees, and makes, every so many-th frame; what lies between is blended.
        fps: Rate of the frames that the model sees.
        size: Height and width that they are scaled to, without regard to the aspect, which differs a little.
    """

    stride: int
    fps: float
    size: tuple[int, int]


def fit_video(
    *, fps: float, height: int, width: int, trained_fps: float, trained_size: tuple[int, int], unit: tuple[int, int]
) -> Fitted:
    """Fit a video to a model.

    The rate is that part of the video's own that is nearest to the model's, by ratio: of 30 frames a second a model of
    12 sees 10 or 15, of 24 or 25 every second one, and a slower video is seen as it is. The size has about as many
    pixels as the model was trained with, in the video's aspect as nearly as the model's units allow.

    Args:
        fps: Of the video.
        height: Of the video, pixels.
        width: Of the video, pixels.
        trained_fps: Of the model.
        trained_size: Height and width of the model, pixels.
        unit: What heights and widths of the model are multiples of.
    """
    stride = min(
        range(1, max(2, math.ceil(2 * fps / trained_fps) + 1)), key=lambda n: abs(math.log(fps / n / trained_fps))
    )
    area, aspect = trained_size[0] * trained_size[1], width / height
    rows = range(1, max(2, 2 * trained_size[0] // unit[0] + 1))
    columns = range(1, max(2, 2 * trained_size[1] // unit[1] + 1))

    def strain(place: tuple[int, int]) -> float:
        high, wide = place[0] * unit[0], place[1] * unit[1]
        return abs(math.log(wide / high / aspect)) + abs(math.log(high * wide / area)) / 2

    row, column = min(((r, c) for r in rows for c in columns), key=strain)
    return Fitted(stride, fps / stride, (row * unit[0], column * unit[1]))


def bridge_frames(wanted: int, stride: int, frames_per_latent: int) -> int:
    """The number of frames nearest to ``wanted`` that a gap with an end can have.

    Whole latents lie between what is given on both sides, and the frame after the last made one is the given end's.

    Args:
        wanted: Frames at the video's own rate, at least one.
        stride: Of ``Fitted``.
        frames_per_latent: Of the VAE.
    """
    step = stride * frames_per_latent
    return max(1, round((wanted + 1 - stride) / step)) * step + stride - 1


def given_frames(available: int, stride: int, frames_per_latent: int, most_latents: int) -> int:
    """How many frames at the model's rate are shown of a stretch beside a gap: whole latents, the first of one frame.

    Args:
        available: Frames of the stretch, at its own rate; at least one.
        stride: Of ``Fitted``.
        frames_per_latent: Of the VAE.
        most_latents: No more than these.
    """
    seen = 1 + (available - 1) // stride
    return 1 + min(most_latents - 1, (seen - 1) // frames_per_latent) * frames_per_latent


def aspect_change(fitted: Fitted, size: Sequence[int]) -> float:
    """How much wider, as a factor, the model sees things than they are in frames of ``size`` (height, width)."""
    return (fitted.size[1] / fitted.size[0]) / (size[1] / size[0])
