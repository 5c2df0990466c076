"""How far apart two pictures are for a network that has learnt to see: differences of its features, place by place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST = 1e-10


def perceptual_distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Distance of each picture: squared difference of unit features, mean over places, mean over layers.

    Source: Zhang et al. 2018, The unreasonable effectiveness of deep features as a perceptual metric, arXiv:1801.03924,
    equation 1. Differs from the source: all channels weigh alike (nothing is fitted to people's judgements), layers are
    averaged instead of summed, and the network is whichever gave the features; so figures are not those of LPIPS.

    Args:
        ours: Features of N pictures at each of L layers, ``(N, C, H, W)`` with C, H and W of the layer's own.
        theirs: The same of the pictures they should be.

    Returns:
        ``(N,)`` float32 from 0 (the same features) to 4.

    Raises:
        ValueError: If there is no layer, or shapes differ.
    """
    shapes = [[tuple(layer.shape) for layer in layers] for layers in (ours, theirs)]
    if not shapes[0] or shapes[0] != shapes[1] or any(len(shape) != 4 for shape in shapes[0]):
        raise ValueError(f"need the same layers (N, C, H, W) twice, got {shapes[0]} and {shapes[1]}")
    layers = [
        (functional.normalize(a, dim=1, eps=_SMALLEST) - functional.normalize(b, dim=1, eps=_SMALLEST))
        .square()
        .sum(1)
        .mean((1, 2))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return torch.stack(layers).mean(0)
