"""Adapters of low rank: a model learns something new by small matrices beside its own, which stay as they are.

Axes: m outputs and n inputs of a linear layer, r the rank.
Source: LoRA (Hu et al. 2021, arXiv:2106.09685): ``W + alpha / r * up @ down``. ``up`` begins at zero, so an adapter
changes nothing until it has learnt, and ``down`` as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.core.errors import ArtifactError, UsageError, nearest
from soracli.models.config import LoRAConfig

DOWN, UP = "lora_down", "lora_up"
"""What the two matrices of an adapter are called beside the ``weight`` of their layer."""


class LoRALinear(nn.Linear):
    """A linear layer with an adapter; its own weight and bias keep their names and learn nothing."""

    def __init__(self, layer: nn.Linear, config: LoRAConfig, generator: torch.Generator) -> None:
        """Take over the weights of ``layer``; ``generator`` decides the adapter's."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.scale = config.alpha / config.rank
        drawn = (2 * torch.rand(config.rank, self.in_features, generator=generator) - 1) / self.in_features**0.5
        self.lora_down = nn.Parameter(drawn.to(layer.weight))  # (r, n)
        self.lora_up = nn.Parameter(layer.weight.new_zeros(self.out_features, config.rank))  # (m, r)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., n)`` to ``(..., m)``."""
        added = functional.linear(functional.linear(x, self.lora_down), self.lora_up)  # (..., m)
        return functional.linear(x, self.weight, self.bias) + self.scale * added  # (..., m)


def add_adapters(model: nn.Module, config: LoRAConfig, generator: torch.Generator) -> list[str]:
    """Give layers their adapters; from then on nothing else learns but the weights the configuration names.

    Args:
        model: Changed in place.
        config: With a rank from 1 on.
        generator: Decides the adapters, layer by layer.

    Returns:
        The names of all that learns: what an adapter is saved as.

    Raises:
        UsageError: If a pattern is the name of nothing; names the nearest thing that there is.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    weights = dict(model.named_parameters())
    for key, patterns, names in (("layers", config.layers, layers), ("whole", config.whole, weights)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                kind = "linear layer" if key == "layers" else "weight"
                near = nearest(pattern, names) or next(iter(names))
                raise UsageError(f"lora.{key}: no {kind} of this model is called '{pattern}'; one is '{near}'")
    model.requires_grad_(False)
    for name, layer in layers.items():
        if _matches(name, config.layers):
            model.set_submodule(name, LoRALinear(layer, config, generator))
    for name, weight in weights.items():
        weight.requires_grad_(_matches(name, config.whole))
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def merge_adapter(weights: Mapping[str, Tensor], adapter: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Weights of a model without adapters that computes what it does with one.

    Args:
        weights: Of the model by name; adapters among them are left out.
        adapter: What ``add_adapters`` named, after training.
        scale: ``alpha / rank``.

    Raises:
        ArtifactError: If a part of the adapter has no place in the model.
    """
    merged = {name: tensor for name, tensor in weights.items() if not name.endswith((f".{DOWN}", f".{UP}"))}
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in adapter.items():
        layer, _, kind = name.rpartition(".")
        if kind in (DOWN, UP):
            pairs.setdefault(f"{layer}.weight", {})[kind] = tensor
        else:
            _check_place(name, tensor.shape, merged)
            merged[name] = tensor
    for name, pair in pairs.items():
        if pair.keys() != {DOWN, UP}:
            raise ArtifactError(f"the adapter of {name} is incomplete: it has {', '.join(pair)} alone")
        added = scale * (pair[UP] @ pair[DOWN])  # (m, n)
        _check_place(name, added.shape, merged)
        merged[name] = merged[name] + added
    return merged


def _check_place(name: str, shape: torch.Size, weights: Mapping[str, Tensor]) -> None:
    if name not in weights or weights[name].shape != shape:
        found = f"is {tuple(weights[name].shape)}" if name in weights else "is not there"
        raise ArtifactError(f"the adapter has {tuple(shape)} for {name}, which {found} in this model")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
