"""What the judge pays for: every pixel, every frame's camera, every object's path.

Axes: B videos, T frames, M side of the maps, N objects.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from soracli.models.judge import FEWEST_PIXELS, Judge, JudgeMaps

_LEAST_AREA = 12.0
"""Pixels: objects in a frame weigh alike, but slivers smaller than this less."""


def judge_loss(judge: Judge, maps: JudgeMaps, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compare what was seen with what there is, and how objects were said to move with how they do.

    Args:
        judge: The model.
        maps: What its ``look`` saw.
        truth: ``object_index`` ``(B, T, M, M)``, -1 for none; ``objects`` ``(B, N, 4)``, numbers of colour, shape,
            size and motion, -1 for none; ``centre`` ``(B, T, N, 3)``, right, down and log distance; ``pose``
            ``(B, T, 3)``; ``scene`` ``(B, 2)``, numbers of ground and camera.

    Returns:
        ``loss``, the weighted sum, and its parts by name.
    """
    index, objects = truth["object_index"].long(), truth["objects"]
    member = torch.stack([index == number for number in range(objects.shape[1])], 2)  # (B, T, N, M, M)
    area = member.sum((3, 4))
    weight = (member / area.clamp(min=_LEAST_AREA)[..., None, None]).sum(2)  # (B, T, M, M)
    weight = weight / weight.sum().clamp(min=1)

    inside = (index >= 0).to(maps.there.dtype)
    there = functional.binary_cross_entropy_with_logits(maps.there, inside, reduction="none")
    # Half over all pixels, half over objects, so that small ones are not given up.
    parts = {"there": there.mean() + 0.2 * (there * weight).sum()}
    words = [_at_pixels(objects[:, :, field], index) for field in range(3)]
    for name, logits, target in zip(
        ("colour", "shape", "size"), (maps.colour, maps.shape, maps.size), words, strict=True
    ):
        entropy = functional.cross_entropy(
            logits.flatten(0, 1), target.flatten(0, 1), reduction="none", ignore_index=-1
        )
        parts[name] = (entropy.unflatten(0, target.shape[:2]) * weight).sum()
    place = torch.einsum("btnyx,btnc->btcyx", member.to(maps.there.dtype), truth["centre"])
    parts["centre"] = ((maps.centre - place[:, :, :2]).abs().sum(2) * weight).sum()
    parts["depth"] = ((maps.depth - place[:, :, 2]).abs() * weight).sum()
    parts["pose"] = (maps.pose - truth["pose"]).abs().mean()
    parts["ground"] = functional.cross_entropy(maps.ground, truth["scene"][:, 0])
    parts["camera"] = functional.cross_entropy(maps.camera, truth["scene"][:, 1])

    motion, size = judge.follow(maps, member)
    seen = ((area >= FEWEST_PIXELS).sum(1) >= 4) & (objects[:, :, 3] >= 0)
    motion_words, size_words = objects[:, :, 3].masked_fill(~seen, -1), objects[:, :, 2].masked_fill(~seen, -1)
    count = seen.sum().clamp(min=1)
    for name, said, target in (("motion", motion, motion_words), ("track_size", size, size_words)):
        entropy = functional.cross_entropy(said.flatten(0, 1), target.flatten(), reduction="sum", ignore_index=-1)
        parts[name] = entropy / count

    weights = {"there": 2.0, "centre": 5.0, "depth": 3.0, "pose": 5.0, "ground": 0.3, "camera": 0.5, "size": 0.5}
    total = torch.stack([weights.get(name, 1.0) * value for name, value in parts.items()]).sum()
    return {"loss": total, **parts}


def _at_pixels(numbers: Tensor, index: Tensor) -> Tensor:
    """``(B, T, M, M)`` the number that the object of each pixel has; -1 where there is no object."""
    flat = index.flatten(1).clamp(min=0)
    picked = numbers.gather(1, flat).view(index.shape)
    return picked.masked_fill(index < 0, -1)
