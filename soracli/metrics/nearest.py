"""Which of many known samples a feature is nearest to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def nearest_rows(features: Tensor, reference: Tensor, widths: Sequence[int]) -> Tensor:
    """Rows of the reference for each feature, the nearest first.

    Nearest by the cosine of the angle after the reference's mean is taken away, so that a feature which is only paler
    than a sample still lies in its direction. Parts of a feature that measure different things are first scaled to
    weigh alike: each to a mean square of 1 over the reference.

    Args:
        features: ``(N, D)``.
        reference: ``(M, D)``, M at least 2.
        widths: Columns of each part; they sum to D.

    Returns:
        ``(N, M)`` int64.

    Raises:
        ValueError: If widths do not fit.
    """
    if features.ndim != 2 or reference.ndim != 2 or not features.shape[1] == reference.shape[1] == sum(widths):
        raise ValueError(f"parts {list(widths)} do not fit {tuple(features.shape)} and {tuple(reference.shape)}")
    if len(reference) < 2:
        raise ValueError("need at least two samples to be nearest to")
    mean = reference.double().mean(0)
    ours, theirs = features.double() - mean, reference.double() - mean
    scales = []
    for part in theirs.split(list(widths), 1):
        size = part.square().sum(1).mean().sqrt()
        scales.append(torch.ones(part.shape[1]).to(size) / size.clamp(min=1e-12))
    scale = torch.cat(scales)
    ours, theirs = (torch.nn.functional.normalize(part * scale, dim=1) for part in (ours, theirs))
    return (ours @ theirs.T).argsort(dim=1, descending=True, stable=True)


def name_ranks(order: Tensor, names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Place of the first sample that bears the wanted name, 0 for the nearest of all.

    Args:
        order: ``(N, M)`` of ``nearest_rows``.
        names: Of the M samples.
        wanted: N names, each among ``names``.

    Raises:
        ValueError: If a wanted name is none of theirs.
    """
    ranks = []
    for row, name in zip(order.tolist(), wanted, strict=True):
        rank = next((place for place, number in enumerate(row) if names[number] == name), None)
        if rank is None:
            raise ValueError(f"no sample is called {name!r}")
        ranks.append(rank)
    return ranks
