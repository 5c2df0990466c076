"""AdamW, or Muon for hidden matrices with AdamW for the rest, stepped as one; clipping; NaN and spikes left out.

Muon (``soracli.training.muon``) makes updates as large as AdamW's, so one learning rate and one weight decay serve
both. It takes matrices only.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from statistics import median

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from soracli.core.errors import NumericsError
from soracli.training.config import OptimiserConfig
from soracli.training.muon import Muon
from soracli.training.schedule import learning_rate_at

MUON_MOMENTUM = 0.95
OUTER_LAYERS = ("*embed*", "final*", "head*")
"""Patterns of one part of a dotted name that mark first and last layers: matrices, but not hidden ones."""
SPIKE_WINDOW = 100
"""Norms that a norm is compared with, the last ones."""
_FEWEST_NORMS = 20
"""Norms before which there is no comparison: a median of few says little."""


@dataclass(frozen=True)
class StepReport:
    """What one update did.

    Attributes:
        learning_rate: Rate of this update.
        gradient_norm: Norm of all gradients together, before clipping.
        applied: False when no weight was changed: the loss or a gradient was not finite, or the norm was a spike.
        skipped_updates: Updates since the run began that changed no weight.
    """

    learning_rate: float
    gradient_norm: float
    applied: bool
    skipped_updates: int

    def figures(self) -> dict[str, float]:
        """What a run's metrics say of it."""
        return {
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
            "skipped_updates": float(self.skipped_updates),
        }


@dataclass(kw_only=True)
class Optimiser:
    """One or two torch optimisers over named parameters.

    Attributes:
        config: The recipe's section.
        parts: ``"adamw"`` and, if asked for, ``"muon"``.
        names: Every trained parameter by name.
        skipped: Updates skipped since the run began because numbers were not finite.
        skipped_in_row: Those since the last update that was finite.
        spikes: Updates skipped since the run began because their gradients were a spike.
        norms: The last norms of gradients, if spikes are looked for.
        rate_scale: What the learning rate of the recipe is multiplied with.
    """

    config: OptimiserConfig
    parts: dict[str, torch.optim.Optimizer]
    names: dict[str, nn.Parameter]
    skipped: int = 0
    skipped_in_row: int = 0
    spikes: int = 0
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=SPIKE_WINDOW))
    rate_scale: float = 1.0

    @property
    def left_out(self) -> int:
        """Updates since the run began that changed no weight."""
        return self.skipped + self.spikes

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def step(self, step: int, total_steps: int, loss: float) -> StepReport:
        """Update the weights from their gradients, unless these are not finite or a spike, then drop the gradients.

        With several ranks call it after the gradients are averaged and with the mean loss, so that every rank
        sees the same numbers and decides the same.

        Args:
            step: Index of this update, from 0.
            total_steps: Updates of the whole run.
            loss: Loss of this batch; only looked at for being finite.

        Raises:
            NumericsError: After ``config.max_skipped_steps`` steps in a row that were not finite.
        """
        rate = self.rate_scale * learning_rate_at(step, self.config, total_steps)
        norm = clip_gradients(self.names.values(), self.config.gradient_clip)
        finite = math.isfinite(norm) and math.isfinite(loss)
        spike = finite and self._is_spike(norm)
        if finite and not spike:
            for part in self.parts.values():
                for group in part.param_groups:
                    group["lr"] = rate
                part.step()
        self.spikes += spike
        self.skipped += not finite
        self.skipped_in_row = 0 if finite else self.skipped_in_row + 1
        self.zero_grad()
        if self.skipped_in_row >= self.config.max_skipped_steps:
            raise NumericsError(
                f"loss or gradients were not finite {self.skipped_in_row} steps in a row (step {step + 1}: loss "
                f"{loss:g}, gradient norm {norm:g}); no weight was changed by them: lower optimiser.learning_rate "
                f"({self.config.learning_rate:g}) or optimiser.gradient_clip ({self.config.gradient_clip:g})"
            )
        return StepReport(rate, norm, finite and not spike, self.left_out)

    def _is_spike(self, norm: float) -> bool:
        """Whether a norm stands out from the last ones. It joins them: a change that stays is no spike for long."""
        if not self.config.spike_ratio:
            return False
        spike = len(self.norms) >= _FEWEST_NORMS and norm > self.config.spike_ratio * median(self.norms)
        self.norms.append(norm)
        return spike


def build_optimiser(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    config: OptimiserConfig,
    outer_layers: Sequence[str] = OUTER_LAYERS,
    muon_dtype: torch.dtype = torch.float32,
) -> Optimiser:
    """Sort parameters into groups and build their optimisers.

    Args:
        named_parameters: As ``module.named_parameters()`` gives; frozen ones are left out.
        config: Which optimiser, and its numbers.
        outer_layers: ``fnmatch`` patterns; a matrix with a matching part in its dotted name (``patch_embed.weight``,
            ``final.linear.weight``) is an embedding or a final layer, which Muon does not take.
        muon_dtype: What Muon multiplies in.
    """
    names = {name: parameter for name, parameter in named_parameters if parameter.requires_grad}
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "decayed": [], "plain": []}
    for name, parameter in names.items():
        hidden = config.name == "muon" and parameter.ndim == 2 and not _matches(name, outer_layers)
        kind = "plain" if not is_matrix(parameter) else "muon" if hidden else "decayed"
        groups[kind].append(parameter)

    parts: dict[str, torch.optim.Optimizer] = {}
    adamw_groups = [
        {"params": groups["decayed"], "weight_decay": config.weight_decay},
        {"params": groups["plain"], "weight_decay": 0.0},
    ]
    if any(group["params"] for group in adamw_groups):
        # fused: the whole update in one pass over memory, several times faster on CPU than a loop over tensors
        fused = {parameter.device.type for parameter in names.values()} <= {"cpu", "cuda"}
        parts["adamw"] = torch.optim.AdamW(
            [group for group in adamw_groups if group["params"]],
            lr=config.learning_rate,
            betas=config.betas,
            fused=fused,
        )
    if groups["muon"]:
        parts["muon"] = Muon(
            groups["muon"],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            momentum=MUON_MOMENTUM,
            dtype=muon_dtype,
        )
    return Optimiser(config=config, parts=parts, names=names)


def is_matrix(parameter: torch.Tensor) -> bool:
    """Whether at least two axes are longer than 1: weights, kernels and tables, but not gains kept as (C, 1, 1, 1)."""
    return sum(size > 1 for size in parameter.shape) >= 2


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> float:
    """Scale gradients so that their joint norm is at most ``largest`` (0: leave them).

    Returns:
        The norm before scaling; NaN or infinity when a gradient is not finite (then they are left as they are).
    """
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in with_gradient if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):  # of the rows that this rank holds
        norm = norm.full_tensor()
    value = float(norm)
    if largest > 0 and math.isfinite(value):
        nn.utils.clip_grads_with_norm_(with_gradient, largest, norm)
    return value


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(part, pattern) for part in name.split(".") for pattern in patterns)
