"""A loss that pushes what the model thinks of different samples apart: contrast without pairs that belong together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dispersive_loss(states: Tensor) -> Tensor:
    """``log mean exp(-D)`` over all pairs of samples, a sample with itself among them; at most 0.

    ``D`` is the squared distance of two samples over the width: the InfoNCE variant with L2 distances.
    Source: Dispersive Loss (Wang and He 2025, arXiv:2506.09027, algorithm 1), as in the authors' code: temperature 1
    after division by the width, added to the loss with weight 0.25.

    Args:
        states: ``(S, D)``, a row a sample; a single sample has nothing to keep away from and gives 0.
    """
    count, width = states.shape
    apart = functional.pdist(states).square() / width  # (S (S - 1) / 2,)
    every = torch.cat([-apart, -apart, apart.new_zeros(count)])  # (S S,)
    return torch.logsumexp(every, 0) - 2 * torch.log(every.new_tensor(float(count)))


def mean_by_sample(states: Tensor, sample: Tensor, count: int) -> Tensor:
    """Mean over the tokens of each sample: one length for samples of any size.

    Differs from the source: there all samples have the same tokens, and those are compared one by one.

    Args:
        states: ``(L, D)``.
        sample: ``(L,)`` which sample each token is of.
        count: Samples; each has at least one token.

    Returns:
        ``(count, D)`` float32.
    """
    total = states.new_zeros(count, states.shape[1], dtype=torch.float32).index_add(0, sample, states.float())
    return total / torch.bincount(sample, minlength=count)[:, None]
