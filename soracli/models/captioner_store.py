"""The captioner's folder: ``model.safetensors``, ``config.json`` and ``tokenizer.json``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from soracli.core.errors import ArtifactError
from soracli.models.captioner import Captioner
from soracli.models.config import CaptionerConfig
from soracli.models.record import part_folder
from soracli.models.store import build_filled, read_part, save_part
from soracli.models.tokenizer import load_tokenizer, save_tokenizer

KIND = "captioner"


def save_captioner(
    folder: Path, captioner: Captioner, tokenizer: Tokenizer, facts: Mapping[str, Any], dtype: torch.dtype
) -> str:
    """Write a captioner; returns its hash.

    Args:
        folder: Its folder, made if missing.
        captioner: The model.
        tokenizer: What its numbers of tokens mean.
        facts: JSON values that travel with it.
        dtype: What its weights are stored in.

    Raises:
        MachineError: If it cannot be written.
    """
    save_tokenizer(tokenizer, folder)
    found = {**facts, "tokenizer_sha256": _hash(tokenizer)}
    return save_part(folder, KIND, captioner.state_dict(), captioner.config, found, dtype)


def load_captioner(model: Path, device: torch.device | str = "cpu") -> tuple[Captioner, Tokenizer, dict[str, Any]]:
    """Read a captioner, its tokenizer and its record from its own folder, a model folder that has one, or a run.

    Raises:
        ArtifactError: If there is none or it is damaged.
    """
    folder = part_folder(model, KIND)
    weights, config, record = read_part(folder, KIND, CaptionerConfig)
    captioner = build_filled(lambda: Captioner(config), weights, folder)
    tokenizer = load_tokenizer(folder)
    if _hash(tokenizer) != record.get("tokenizer_sha256"):
        raise ArtifactError(f"{folder} is damaged: its tokenizer is not the one it was trained with")
    return captioner.eval().requires_grad_(False).to(device), tokenizer, record


def _hash(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
