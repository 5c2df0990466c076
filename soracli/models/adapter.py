"""A trained adapter on disk: ``lora/`` with ``model.safetensors`` and ``config.json``, and a model with one.

It holds what learnt and the hashes of the model that it learnt on, and is put on no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soracli.models.config import LoRAConfig
from soracli.models.generator import Generator
from soracli.models.lora import merge_adapter
from soracli.models.record import part_folder, read_adapter_record
from soracli.models.store import fill_module, read_part, save_part


def save_adapter(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: LoRAConfig,
    base: Mapping[str, str],
    facts: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> str:
    """Write ``lora/`` into a folder.

    Args:
        folder: Made if missing.
        tensors: What learnt, by name with ``dit.`` or ``text.`` in front.
        config: What it was made from.
        base: ``soracli.models.record.base_of`` the model.
        facts: JSON values that travel with it.
        dtype: How it is stored.

    Returns:
        Its hash.
    """
    return save_part(folder / "lora", "lora", tensors, config, {"base": dict(base), **facts}, dtype)


def put_adapter(generator: Generator, model: Path, adapter: Path) -> Generator:
    """Put an adapter on a model that was read from ``model``: added to its weights, so it costs nothing to use.

    Args:
        generator: In float32; its weights are changed.
        model: The folder or run it was read from.
        adapter: The adapter's folder, or the run that trained it.

    Raises:
        ArtifactError: If it cannot be read, or was trained on another model.
    """
    read_adapter_record(adapter, model)
    folder = part_folder(adapter, "lora")
    tensors, config, _ = read_part(folder, "lora", LoRAConfig)
    parts = {"dit": generator.dit, "text": generator.text}
    weights = {
        f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()
    }
    tensors = {name: tensor.to(generator.device) for name, tensor in tensors.items()}
    merged = merge_adapter(weights, tensors, config.alpha / config.rank)
    for part, module in parts.items():
        own = {name.removeprefix(f"{part}."): tensor for name, tensor in merged.items() if name.startswith(f"{part}.")}
        fill_module(module, own, folder)
    return generator
