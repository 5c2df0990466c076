"""Muon for matrices of any shape, in bfloat16 where the machine computes it and in float32 elsewhere.

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/, with the scaling of Liu et al. 2025
(arXiv:2502.16982). Differs from ``torch.optim.Muon``: that one orthogonalises in bfloat16, which CPUs without bfloat16
units emulate many times slower than float32; and the iteration runs on the small Gram matrix, which needs less than
half of the products for the wide matrices of convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from soracli.training.sharding import local_of
from soracli.training.shared_matrices import each_on_one_rank

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalise(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nearly the orthogonal factor ``U V^T`` of ``matrix = U S V^T``: singular values end near 1.

    Five Newton-Schulz steps ``X <- (a I + b A + c A A) X`` with ``A = X X^T``.

    Args:
        matrix: ``(m, n)`` float32.
        dtype: What is multiplied in. In float32 only the factors are iterated: all are polynomials of the first ``A``
            and commute, so ``X`` is multiplied once. In bfloat16 that would lose the small singular values.

    Returns:
        ``(m, n)`` float32, singular values about 0.7 to 1.2.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    a, b, c = _COEFFICIENTS
    if dtype != torch.float32:
        x = x.to(dtype)
        for _ in range(_ITERATIONS):
            gram = x @ x.T  # (m, m)
            x = a * x + (b * gram + c * gram @ gram) @ x  # (m, n)
        return (x if wide else x.T).to(matrix.dtype)
    gram = x @ x.T  # (m, m)
    identity = torch.eye(gram.shape[0], dtype=x.dtype, device=x.device)
    total = identity
    for _ in range(_ITERATIONS):
        step = a * identity + (b * gram + c * gram @ gram)  # (m, m)
        total = step @ total  # (m, m)
        gram = step @ gram @ step  # (m, m)
    x = total @ x  # (m, n)
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, scaled to the size of AdamW's updates so that one learning rate serves both."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        loss = closure() if closure is not None else None
        whole = partial(orthogonalise, dtype=self.dtype)
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            directions = (self._direction(parameter, group["momentum"]) for parameter in trained)
            if trained and isinstance(trained[0], DTensor):
                shapes = [parameter.shape for parameter in trained]
                updates = iter(each_on_one_rank(whole, list(directions), shapes, trained[0].device_mesh))
            else:
                updates = map(whole, directions)
            for parameter, update in zip(trained, updates, strict=True):
                own = local_of(parameter)
                own.mul_(1 - group["lr"] * group["weight_decay"])
                own.add_(update.to(own.dtype), alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)
        return loss

    def _direction(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Where a matrix goes before it is orthogonalised, float32; of a sharded one the rows that this rank holds."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        gradient = local_of(parameter.grad)
        average = local_of(state["momentum_buffer"]).lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum).float()
