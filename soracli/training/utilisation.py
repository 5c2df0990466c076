"""How much of what a machine can multiply a training uses: operations counted as they are executed, and a rate.

Both are measured, not looked up: the rate is that of this machine's own matrix products, at the shapes and in the
number type of the model, so a share of 1 would be a model that is nothing but its matrix products.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, int, int]
"""``(m, k, n)`` of a product of ``(m, k)`` and ``(k, n)``."""
_MOST_SHAPES = 8
_PATIENCE = 20
"""Tries without a faster one after which the fastest is believed."""


class Operations(TorchDispatchMode):
    """Counts operations while it is open, and the shapes of plain matrix products.

    Counted as ``torch.utils.flop_counter`` counts. Differs from the source: its ``FlopCounterMode`` follows modules by
    hooks, which do not let ``autograd.grad`` through; and it leaves out the fused attention of CPUs, which is counted
    here like that of GPUs. Compiled modules run uncompiled while it is open.

    Attributes:
        total: Floating-point operations; two for a multiplication and an addition.
        products: How often each shape was multiplied.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.products: Counter[Shape] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do one operation and count it."""
        out = func(*args, **(kwargs or {}))
        kind = func._overloadpacket
        if kind in flop_registry:
            self.total += flop_registry[kind](*args, **(kwargs or {}), out_val=out)
        elif kind is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
            self.total += sdpa_flop_count(*(part.shape for part in args[:3]))
        elif kind is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
            self.total += sdpa_backward_flop_count(*(part.shape for part in args[:4]))
        if kind in (torch.ops.aten.mm, torch.ops.aten.addmm):
            left, right = args[-2:]
            self.products[(*left.shape, right.shape[1])] += 1
        return out


def product_rate(
    products: Mapping[Shape, int], dtype: torch.dtype, device: torch.device, seconds: float = 1.0
) -> float:
    """Operations a second of this machine's matrix products.

    Of each shape the fastest of many tries counts, so a machine that is busy with other things is not taken for a slow
    one.

    Args:
        products: How often the model multiplies each shape; those with most of the work are measured, each with the two
            products of its way back.
        dtype: What is multiplied.
        device: Where.
        seconds: How long to measure, at most, about.

    Raises:
        ValueError: If there are no products.
    """
    if not products:
        raise ValueError("no products to measure")
    heaviest = sorted(products, key=lambda shape: products[shape] * _operations(shape))[-_MOST_SHAPES:]
    work = taken = 0.0
    for m, k, n in heaviest:
        generator = torch.Generator(device).manual_seed(0)
        left, right, slope = (
            torch.randn(size, generator=generator, device=device).to(dtype) for size in ((m, k), (n, k), (m, n))
        )
        best = _fastest(left, right, slope, seconds / len(heaviest))
        work += products[m, k, n] * 3 * _operations((m, k, n))
        taken += products[m, k, n] * best
    return work / taken


def _operations(shape: Shape) -> float:
    m, k, n = shape
    return 2.0 * m * k * n


def _fastest(left: Tensor, right: Tensor, slope: Tensor, seconds: float) -> float:
    """Seconds of a linear layer's product and the two of its way back, at best."""
    best, vain, end = float("inf"), 0, time.perf_counter() + seconds
    # A device that is told what to do needs enough to do; what is short on a CPU is seldom interrupted.
    times = 1 if left.device.type == "cpu" else 8
    _multiply(left, right, slope, times)  # the first time is spent on finding out how
    while vain < _PATIENCE and (best == float("inf") or time.perf_counter() < end):
        began = time.perf_counter()
        _multiply(left, right, slope, times)
        taken = (time.perf_counter() - began) / times
        vain = 0 if taken < best else vain + 1
        best = min(best, taken)
    return best


def _multiply(left: Tensor, right: Tensor, slope: Tensor, times: int) -> None:
    for _ in range(times):
        left @ right.T, slope @ right, slope.T @ left
    _wait_for(left.device)


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
