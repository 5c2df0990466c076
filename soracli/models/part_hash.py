"""The hash of a part of a model: of its weights and of what it is built from, so any change makes another part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def hash_part(kind: str, config: Mapping[str, Any], stored: Mapping[str, Tensor]) -> str:
    """64 hex digits.

    Args:
        kind: What it is: ``vae``, ``dit``, ``text``, ``judge``.
        config: JSON values that it is built from.
        stored: Its tensors by name, on the CPU, as the file has them.
    """
    digest = hashlib.sha256(json.dumps([kind, config], sort_keys=True).encode())
    for name, tensor in sorted(stored.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
