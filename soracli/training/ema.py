"""A moving average of the weights, for sampling and for the model that a run leaves behind.

torch's ``AveragedModel`` does the bookkeeping: a copy of the module whose weights are averaged and whose buffers are
those of the model. The decay is warmed up, so a short run is not an average with its random start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from soracli.core.errors import ArtifactError
from soracli.training.checkpoint import load_module

TensorList: TypeAlias = tuple[Tensor, ...] | list[Tensor]


def decay_at(num_updates: int, decay: float) -> float:
    """Decay of the next update after ``num_updates``: ``min(decay, (1 + n) / (10 + n))``, as in TensorFlow's EMA."""
    return min(decay, (1 + num_updates) / (10 + num_updates))


def build_ema(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``model`` that ``ema.update_parameters(model)`` moves towards it after each step.

    Args:
        model: The bare module. Its weights are copied, now and by the first update.
        decay: Share of the old average that an update keeps once warm, in [0, 1).

    Returns:
        The average; ``.module`` is a module like ``model``, in eval mode, without gradients.
    """

    @torch.no_grad()
    def average(averaged: TensorList, current: TensorList, num_averaged: Tensor | int) -> None:
        # The first update only copies, so the n-th average is update n - 1 of the formula.
        weight = 1 - decay_at(int(num_averaged) - 1, decay)
        torch._foreach_lerp_(averaged, current, weight)

    ema = AveragedModel(model, multi_avg_fn=average)
    ema.requires_grad_(False)
    return ema.eval()


def ema_tensors(ema: AveragedModel) -> dict[str, Tensor]:
    """Weights and buffers under the names they have in the model itself: loadable as a model."""
    return dict(ema.module.state_dict())


def load_ema(ema: AveragedModel, tensors: Mapping[str, Tensor], num_updates: int) -> None:
    """Put back ``ema_tensors`` and the number of updates (``int(ema.n_averaged)``), which the warm-up needs.

    Raises:
        ArtifactError: If names or shapes do not fit, or the number is negative.
    """
    if num_updates < 0:
        raise ArtifactError(f"the moving average cannot have {num_updates} updates")
    load_module(ema.module, tensors, "the moving average of the weights")
    ema.n_averaged.fill_(num_updates)
