"""Quantisers without a learnt codebook: finite scalar (FSQ) and look-up free (LFQ), and what LFQ pays.

Axes: ``(..., D)``, the D dimensions of a code last. A code is D numbers in [-1, 1]; dimension d has ``levels[d]``
values, two for LFQ. Its index counts like a number of mixed radix, the first dimension fastest, so the codebook is
never stored.
Sources: FSQ, Mentzer et al. 2023 (arXiv:2309.15505); LFQ, MAGViT-v2 (Yu et al. 2023, arXiv:2310.05737).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

_MARGIN = 1e-3
"""How far ``fsq_bound`` stays inside the outermost levels, as a share."""
_LEAST_PROBABILITY = 1e-12


def fsq_bound(values: Tensor, levels: Sequence[int]) -> Tensor:
    """Squeeze ``(..., D)`` so that rounding gives ``levels[d]`` whole numbers, from ``-(levels[d] // 2)`` up.

    An even number of levels cannot be placed around 0, so it is shifted down by a half, and the input by as much the
    other way: 0 stays 0.
    Source: FSQ, section 3.1 and appendix A.1.
    Differs from the source: the shift of the input is atanh, which undoes tanh exactly, where the listing has tan; from
    four levels on they differ by less than 0.001.
    """
    count = torch.tensor(levels, dtype=values.dtype, device=values.device)
    half = (count - 1) * (1 - _MARGIN) / 2
    offset = (1 - count % 2) / 2
    return torch.tanh(values + torch.atanh(offset / half)) * half - offset


def fsq_codes(values: Tensor, levels: Sequence[int]) -> Tensor:
    """Codes of ``(..., D)``: bounded, rounded, divided by ``levels[d] // 2``. The gradient passes the rounding."""
    bounded = fsq_bound(values, levels)
    return _straight_through(bounded.round(), bounded) / _half_widths(levels, values)


def lfq_codes(values: Tensor) -> Tensor:
    """Codes of ``(..., D)``: 1 where a value is above 0, else -1. The gradient passes as if nothing had been done."""
    return _straight_through(torch.where(values > 0, 1.0, -1.0).to(values), values)


def indices_from_codes(codes: Tensor, levels: Sequence[int]) -> Tensor:
    """Numbers of codes: ``(..., D)`` to int64 ``(...)``, 0 to ``prod(levels) - 1``.

    Codes need not be exact; each dimension counts as its nearest level.
    """
    half = _half_widths(levels, codes.detach().float())
    digits = (codes.detach().float() * half + half).round().long()
    most = torch.tensor(levels, device=codes.device) - 1
    return (digits.clamp(min=torch.zeros_like(most), max=most) * _radixes(levels, codes.device)).sum(-1)


def codes_from_indices(indices: Tensor, levels: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Undo ``indices_from_codes``: int64 ``(...)`` to ``(..., D)``."""
    digits = indices[..., None] // _radixes(levels, indices.device) % torch.tensor(levels, device=indices.device)
    half = _half_widths(levels, digits.to(dtype))
    return (digits - half) / half


def lfq_entropies(
    values: Tensor,
    temperature: float,
    group_bits: int,
    mean_over_ranks: Callable[[Tensor], Tensor] = lambda probabilities: probabilities,
) -> tuple[Tensor, Tensor]:
    """How unsure each position is of its code, and how evenly the codes are used, both in nats.

    A position is taken to have a code with a probability, the softmax of ``-|value - code|^2 / temperature`` over all
    codes; that is a product over bits, each 1 with probability ``sigmoid(4 value / temperature)``. So the first entropy
    is an exact sum over bits. The second, of the mean distribution, is exact up to ``group_bits`` bits; beyond, it is
    the sum over groups of neighbouring bits, the upper bound that Open-MAGVIT2 (Luo et al. 2024, arXiv:2409.04410)
    takes for 2^18 codes.
    Source: the entropy penalty of MAGViT-v2. Differs from the source: the temperature is the caller's; MAGVIT's recipes
    have 0.01.

    Args:
        values: ``(..., D)``, what the encoder gives.
        temperature: Above 0; the smaller, the harder.
        group_bits: Bits whose joint distribution is looked at, at most.
        mean_over_ranks: Given this rank's mean probabilities, those of the whole batch, with this rank's gradient.

    Returns:
        Mean of the entropies of positions, to be made small, and entropy of their mean, to be made large.
    """
    logits = 4 / temperature * values.flatten(0, -2)  # (N, D)
    of_bits = functional.softplus(logits) - logits * logits.sigmoid()  # (N, D)
    mean_entropy = of_bits.sum(-1).mean()
    entropies = []
    for group in logits.split(group_bits, 1):
        joint = torch.ones_like(group[:, :1])  # (N, 1)
        for bit in group.split(1, 1):
            joint = torch.cat([joint * (-bit).sigmoid(), joint * bit.sigmoid()], 1)  # (N, 2^bits so far)
        mean = mean_over_ranks(joint.mean(0))  # (2^bits,)
        entropies.append(-(mean * mean.clamp(min=_LEAST_PROBABILITY).log()).sum())
    return mean_entropy, torch.stack(entropies).sum()


def commitment_loss(values: Tensor, codes: Tensor) -> Tensor:
    """Mean squared distance of values to their codes, which do not move (van den Oord et al. 2017, equation 3)."""
    return (values - codes.detach()).square().mean()


def _straight_through(rounded: Tensor, values: Tensor) -> Tensor:
    """``rounded`` to the bit, with the gradient of ``values`` (Bengio et al. 2013); NaN stays NaN."""
    return rounded.detach() + (values - values.detach())


def _half_widths(levels: Sequence[int], like: Tensor) -> Tensor:
    """Levels from the middle to an end, by which codes reach -1: (D,); a bit has no middle, so a half."""
    return torch.tensor([0.5 if count == 2 else count // 2 for count in levels], dtype=like.dtype, device=like.device)


def _radixes(levels: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([math.prod(levels[:place]) for place in range(len(levels))], device=device)
