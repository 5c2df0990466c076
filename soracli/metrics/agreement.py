"""How well texts fit videos, by embeddings that were trained to tell.

Axes: N pairs, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

AMONG: Final = 32
"""Texts that a video's own is looked for among."""


@dataclass(frozen=True)
class Agreement:
    """Figures of pairs of a video and a text.

    Attributes:
        own: Mean cosine of a video and its own text.
        other: Mean cosine of a video and a text of another; NaN for a single pair.
        found: Share of videos whose own text fits at least as well as all others of a group, and better than one.
        among: Texts in a group, at most.
    """

    own: float
    other: float
    found: float
    among: int


def agreement(video: Tensor, text: Tensor, seed: int = 0) -> Agreement:
    """Compare pairs, in groups drawn by ``seed``.

    Args:
        video: ``(N, E)`` unit vectors.
        text: ``(N, E)`` likewise; row i belongs to video i.
        seed: Which pairs are in a group together.

    Raises:
        ValueError: If there are no pairs or not as many texts as videos.
    """
    if len(video) != len(text) or not len(video):
        raise ValueError(f"need as many videos as texts, at least one, got {len(video)} and {len(text)}")
    order = torch.randperm(len(video), generator=torch.Generator().manual_seed(seed))
    own, other, found = [], [], []
    for group in order.split(AMONG):
        scores = video[group].double() @ text[group].double().T  # (n, n)
        mine = scores.diagonal()
        is_own = torch.eye(len(group), dtype=torch.bool)
        own.append(mine)
        other.append(scores[~is_own])
        # Texts alike fit alike; but who finds all texts equally good has found none.
        best = (mine[:, None] >= scores - 1e-9).all(1)
        found.append(best & (mine > scores.amin(1) + 1e-9) if len(group) > 1 else best)
    return Agreement(
        own=float(torch.cat(own).mean()),
        other=float(torch.cat(other).mean()),
        found=float(torch.cat(found).double().mean()),
        among=min(AMONG, len(video)),
    )
