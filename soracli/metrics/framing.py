"""Framing: whether objects are whole in the frame, how near its middle, and where a text says they stand.

Pixels of objects come from outside: from a judge that looked at a video, or from whoever drew it. An object is whole in
a frame when it is seen there and none of its pixels lies at the frame's border; what stands before it cuts nothing.
Source: the claim on composition in OpenAI's report (Video generation models as world simulators, 2024): a model trained
on square crops "sometimes generates videos where the subject is only partially in view". It gives no measure.

Axes: T frames, N objects, H rows and W columns of the maps; places in half shorter sides of the frame, to the right and
down from its middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.metrics.obedience import ObjectWords, match_objects

Relation = tuple[int, str, int]
"""``(0, "left", 1)``: of the objects asked for the first is to the left of the second; or right, in front, behind."""


@dataclass(frozen=True)
class ShownObjects:
    """Objects of a video and the pixels that show them.

    Attributes:
        words: Of each object.
        member: ``(T, N, H, W)`` bool, its pixels.
        depth: ``(T, N)`` how far it is from the camera, in any unit that grows; not looked at where it has no pixel.
    """

    words: tuple[ObjectWords, ...]
    member: Tensor
    depth: Tensor


@dataclass(frozen=True)
class ObjectFraming:
    """One object that was asked for.

    Attributes:
        found: Whether one with its colour and shape is shown.
        seen: Share of the frames that show it; 0 if it was not found, as the next.
        whole: Share of the frames that show it whole.
        off_centre: Mean distance of its middle from the frame's, over the frames that show it; None if none does.
    """

    found: bool
    seen: float
    whole: float
    off_centre: float | None


@dataclass(frozen=True)
class Framing:
    """One video.

    Attributes:
        objects: Those asked for, in that order.
        relations: Of each relation asked for, whether it holds in the first frame that shows both; False if none does.
    """

    objects: tuple[ObjectFraming, ...]
    relations: tuple[bool, ...]


def frame_objects(
    asked: Sequence[ObjectWords], relations: Sequence[Relation], shown: ShownObjects, margin: int = 1
) -> Framing:
    """Say how what was asked for stands in the frame.

    Args:
        asked: Objects, with colour and shape.
        relations: Between them.
        shown: What there is; each object is matched with at most one asked for.
        margin: Pixels of the maps that count as the frame's border.
    """
    whole, place = whole_objects(shown.member, margin), places(shown.member)  # (T, N), (T, N, 2)
    seen = shown.member.any(-1).any(-1)  # (T, N)
    matched = [
        number if number is not None and _looks_alike(want, shown.words[number]) else None
        for want, number in zip(asked, match_objects(asked, shown.words), strict=True)
    ]
    objects = [
        ObjectFraming(found=False, seen=0.0, whole=0.0, off_centre=None)
        if number is None
        else ObjectFraming(
            found=True,
            seen=float(seen[:, number].float().mean()),
            whole=float(whole[:, number].float().mean()),
            off_centre=float(place[seen[:, number], number].norm(dim=-1).mean()) if seen[:, number].any() else None,
        )
        for number in matched
    ]
    return Framing(
        objects=tuple(objects),
        relations=tuple(
            _holds(relation, matched[one], matched[two], seen, place, shown.depth) for one, relation, two in relations
        ),
    )


def whole_objects(member: Tensor, margin: int = 1) -> Tensor:
    """``(T, N)`` bool: the object has pixels in the frame, and none at its border.

    Args:
        member: ``(T, N, H, W)`` bool.
        margin: Width of the border, pixels.

    Raises:
        ValueError: If the border leaves nothing of the frame, or is none.
    """
    if not 0 < 2 * margin < min(member.shape[2:]):
        raise ValueError(f"a border of {margin} pixels leaves nothing of {tuple(member.shape[2:])}")
    inside = member[:, :, margin:-margin, margin:-margin].sum((2, 3))  # (T, N)
    return (inside > 0) & (inside == member.sum((2, 3)))


def places(member: Tensor) -> Tensor:
    """``(T, N, 2)`` the mean place of each object's pixels ``(T, N, H, W)`` bool; NaN where it has none."""
    height, width = member.shape[2:]
    side = min(height, width)
    down, across = ((torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) * (2 / side) for size in (height, width))
    weight = member.to(torch.float64)  # (T, N, H, W)
    area = weight.sum((2, 3))  # (T, N)
    return torch.stack([(weight.sum(2) * across).sum(-1) / area, (weight.sum(3) * down).sum(-1) / area], -1)


def _holds(relation: str, one: int | None, two: int | None, seen: Tensor, place: Tensor, depth: Tensor) -> bool:
    if one is None or two is None:
        return False
    both = (seen[:, one] & seen[:, two]).nonzero()[:, 0]
    if not len(both):
        return False
    first = int(both[0])
    right = float(place[first, one, 0] - place[first, two, 0])
    farther = float(depth[first, one] - depth[first, two])
    return {"left": -right, "right": right, "in front": -farther, "behind": farther}[relation] > 0


def _looks_alike(want: ObjectWords, got: ObjectWords) -> bool:
    return (want.colour, want.shape) == (got.colour, got.shape)
