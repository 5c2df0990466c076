"""From what a model makes to frames at a video's own rate and size; frames are ``(3, H, W)`` in [-1, 1]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from soracli.core.errors import NumericsError
from soracli.models.codec import to_frames


def blended(anchors: Iterator[Tensor], stride: int, *, skips_first: bool) -> Iterator[Tensor]:
    """All frames from the first anchor up to the last but that one, ``stride - 1`` blends after each."""
    last = next(anchors)
    if not skips_first:
        yield last
    for anchor in anchors:
        for number in range(1, stride + 1):
            yield last + (anchor - last) * (number / stride)
        last = anchor


def single_frames(chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    """``(3, h, w)`` one by one of chunks ``(1, 3, T, h, w)``."""
    for chunk in chunks:
        yield from chunk[0].float().unbind(1)


def signed_pixels(frame: Tensor, device: torch.device) -> Tensor:
    """``(3, H, W)`` in [-1, 1] of ``(H, W, 3)`` uint8."""
    return to_frames(frame[None].to(device))[0, :, 0].float()


def to_size(frame: Tensor, size: Sequence[int]) -> Tensor:
    """``(3, H, W)`` of another size."""
    if tuple(frame.shape[1:]) == tuple(size):
        return frame
    return functional.interpolate(frame[None], tuple(size), mode="bicubic", antialias=True)[0]


def checked(latents: Tensor) -> Tensor:
    """The same latents.

    Raises:
        NumericsError: If they are not finite.
    """
    if not bool(torch.isfinite(latents).all()):
        raise NumericsError("the model gave numbers that are not finite: try --dtype float32, or a lower guidance")
    return latents
