"""Whether a seam shows: the step between the two frames around it, beside the steps that a video takes anyway.

A step is the mean absolute difference of two neighbouring frames in 8-bit levels. Where what is made meets what was
given a jump is one step that is larger than those around it; a ratio of 1 is no seam at all. Usual steps count as one
level at least, so that noise in a picture that stands still makes no seam.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

import torch
from torch import Tensor

AROUND = 10
"""Steps on either side that are what the video does anyway."""
FLOOR = 1.0
"""8-bit levels; smaller usual steps count as this."""


def frame_step(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference of two frames ``(H, W, 3)`` uint8, 0 to 255.

    Raises:
        ValueError: If they are no such frames of one size.
    """
    if one.shape != other.shape or one.dtype != torch.uint8 or other.dtype != torch.uint8:
        raise ValueError(f"need two uint8 frames of one size, got {tuple(one.shape)} and {tuple(other.shape)}")
    return float((one.short() - other.short()).abs().float().mean())


def seam_ratio(
    steps: Sequence[float], place: int, *, other_seams: Collection[int] = (), is_loop: bool = False
) -> float:
    """The step at a seam over the median of the ``AROUND`` steps on either side.

    Args:
        steps: Step k is that from frame k to frame k + 1; of a loop the last leads from its end to its start.
        place: The step at the seam.
        other_seams: Steps that are seams too, and so not what the video does anyway.
        is_loop: Whether what follows the last step is the first one. Near an end of other videos fewer steps count.

    Raises:
        ValueError: If there is no such step, or no other one beside it.
    """
    count = len(steps)
    if not 0 <= place < count:
        raise ValueError(f"no step {place} among {count}")
    near = [place + offset for offset in range(-AROUND, AROUND + 1)]
    numbers = {number % count for number in near} if is_loop else {number for number in near if 0 <= number < count}
    usual = [steps[number] for number in numbers - {place} - set(other_seams)]
    if not usual:
        raise ValueError(f"no step beside the seam at {place} of {count}")
    return steps[place] / max(FLOOR, median(usual))
