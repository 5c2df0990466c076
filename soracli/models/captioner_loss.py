"""What a captioner pays for: words that it did not expect, and videos and texts that it pairs wrongly.

Axes: B captions of this process, B' those of all, L tokens, V vocabulary, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from soracli.models.caption_tokens import IGNORED

TEMPERATURE = 0.07
"""Of the comparison. Differs from CoCa, where it is learnt: a fixed one has no gradient to share among ranks."""


def language_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over captions of the mean over tokens of the cross-entropy, nats.

    Captions count alike, so that ranks of as many captions have losses whose mean is that of all.

    Args:
        logits: ``(B, L, V)``.
        targets: ``(B, L)``, ``IGNORED`` where nothing is asked.
    """
    costs = functional.cross_entropy(logits.float().movedim(-1, 1), targets, ignore_index=IGNORED, reduction="none")
    counts = (targets != IGNORED).sum(1).clamp(min=1)  # (B,)
    return (costs.sum(1) / counts).mean()


def contrastive_loss(video: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric cross-entropy of finding each video's text among all texts and the other way round (CLIP, CoCa).

    Args:
        video: ``(B', E)`` unit vectors.
        text: ``(B', E)`` likewise, in the same order.

    Returns:
        The loss in nats, and the share of videos whose own text fits best.
    """
    scores = video @ text.T / TEMPERATURE  # (B', B')
    own = torch.arange(len(scores), device=scores.device)
    loss = 0.5 * (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own))
    return loss, (scores.argmax(1) == own).float().mean()
