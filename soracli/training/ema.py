"""A moving average of the weights, for sampling and for the model that a run leaves behind.

torch's ``AveragedModel`` does the bookkeeping: a copy of the module whose weights are averaged and whose buffers are
those of the model. The decay is warmed up, so a short run is not an average with its random start.

Several averages may run side by side, each with a decay of its own, and the best be chosen at the end. Differs from
EDM2 (Karras et al. 2023, arXiv:2312.02696), which rebuilds any horizon afterwards from snapshots of two power-function
averages: that needs tens of snapshots kept, where checkpoints here are few, and three or four horizons are enough to
see where the best one lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from soracli.core.errors import ArtifactError
from soracli.training.checkpoint import load_module
from soracli.training.sharding import local_of

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
        torch._foreach_lerp_([local_of(each) for each in averaged], [local_of(each) for each in current], weight)

    ema = AveragedModel(model, multi_avg_fn=average)
    # What is not trained is the same in all averages: one copy of it in memory.
    for own, averaged in zip(model.parameters(), ema.module.parameters(), strict=True):
        if not own.requires_grad:
            averaged.data = own.data
    ema.requires_grad_(False)
    return ema.eval()


def build_averages(model: nn.Module, decay: float, decays: Sequence[float] = ()) -> dict[str, AveragedModel]:
    """Averages by the name of their part in a checkpoint.

    Args:
        model: As for ``build_ema``.
        decay: Of the one that is used.
        decays: Of all that are kept; empty: the used one alone.
    """
    return {average_name(each, decays): build_ema(model, each) for each in decays or (decay,)}


def average_name(decay: float, decays: Sequence[float] = ()) -> str:
    """The part of a checkpoint that an average is: ``ema`` by itself, ``ema_0.999`` among several."""
    return f"ema_{decay!r}" if decays else "ema"


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
