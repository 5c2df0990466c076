"""The state of an ``Optimiser`` as named tensors and JSON, and back.

torch numbers the parameters in its state; here they have names, so a file can be read by a person and a changed model
is refused by name. Learning rates, betas and the like are not stored: they follow from the recipe and the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from soracli.core.errors import ArtifactError
from soracli.training.optimiser import Optimiser


def flatten_optimiser(optimiser: Optimiser) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state as a flat mapping of tensors and a JSON record of the rest.

    Returns:
        Tensors under ``part/parameter name/field`` (``adamw/blocks.0.weight/exp_avg``), not copied; and a record with
        the counters, the names that have state, and fields that are plain numbers.
    """
    tensors: dict[str, Tensor] = {}
    fields: dict[str, dict[str, Any]] = {}
    for part_name, part in optimiser.parts.items():
        for name, parameter in optimiser.names.items():
            for field, value in part.state.get(parameter, {}).items():
                entry = fields.setdefault(f"{part_name}/{name}", {})
                if isinstance(value, Tensor):
                    tensors[f"{part_name}/{name}/{field}"] = value
                    entry[field] = "tensor"
                else:
                    entry[field] = value
    record = {
        "fields": fields,
        "skipped": optimiser.skipped,
        "skipped_in_row": optimiser.skipped_in_row,
        "spikes": optimiser.spikes,
        "norms": list(optimiser.norms),
    }
    return tensors, record


def unflatten_optimiser(optimiser: Optimiser, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Put back what ``flatten_optimiser`` gave, into a freshly built optimiser of the same parameters.

    Raises:
        ArtifactError: If a name, field or shape does not fit; names up to five. Nothing is changed then.
    """
    problems: list[str] = []
    states: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in optimiser.parts}
    used: set[str] = set()
    for key, fields in record["fields"].items():
        part_name, _, name = key.partition("/")
        parameter = optimiser.names.get(name)
        numbers = _numbers_of(optimiser.parts[part_name]) if part_name in optimiser.parts else {}
        if parameter is None or id(parameter) not in numbers:
            problems.append(f"{key} is not in this model's optimiser")
            used |= {f"{key}/{field}" for field in fields}
            continue
        state: dict[str, Any] = {}
        for field, value in fields.items():
            if value != "tensor":
                state[field] = value
                continue
            used.add(f"{key}/{field}")
            tensor = tensors.get(f"{key}/{field}")
            if tensor is None:
                problems.append(f"{key}/{field} is missing")
            elif tensor.ndim and tensor.shape != parameter.shape:
                problems.append(f"{key}/{field} is {tuple(tensor.shape)}, the weight {tuple(parameter.shape)}")
            else:
                state[field] = tensor.clone()
        states[part_name][numbers[id(parameter)]] = state
    problems += [f"{key} is not listed" for key in tensors if key not in used]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ArtifactError(f"optimiser state does not fit: {'; '.join(problems[:5])}{more}")

    for part_name, part in optimiser.parts.items():
        part.load_state_dict({"state": states[part_name], "param_groups": part.state_dict()["param_groups"]})
    optimiser.skipped = int(record["skipped"])
    optimiser.skipped_in_row = int(record["skipped_in_row"])
    # Checkpoints of version 0.1 have neither.
    optimiser.spikes = int(record.get("spikes", 0))
    optimiser.norms.clear()
    optimiser.norms.extend(float(norm) for norm in record.get("norms", ()))


def _numbers_of(part: torch.optim.Optimizer) -> dict[int, int]:
    """The number torch gives each parameter (keyed by identity): its place when the groups are joined."""
    joined = [parameter for group in part.param_groups for parameter in group["params"]]
    return {id(parameter): number for number, parameter in enumerate(joined)}
