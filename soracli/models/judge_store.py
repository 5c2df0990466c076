"""The judge's folder: ``model.safetensors`` (float16) and ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from soracli.models.config import JudgeConfig
from soracli.models.judge import Judge
from soracli.models.record import part_folder
from soracli.models.store import build_filled, read_part, save_part


def save_judge(folder: Path, judge: Judge, facts: Mapping[str, Any]) -> str:
    """Write a judge; returns its hash.

    Args:
        folder: Its folder, made if missing.
        judge: The model; its weights are stored in float16.
        facts: JSON values that travel with it.

    Raises:
        MachineError: If it cannot be written.
    """
    return save_part(folder, "judge", judge.state_dict(), judge.config, facts, torch.float16)


def load_judge(model: Path, device: torch.device | str = "cpu") -> Judge:
    """Read a judge from its own folder, a model folder that has one, or a finished run.

    Raises:
        ArtifactError: If there is none or it is damaged.
    """
    folder = part_folder(model, "judge")
    weights, config, _ = read_part(folder, "judge", JudgeConfig)
    judge = build_filled(lambda: Judge(config), weights, folder)
    return judge.eval().requires_grad_(False).to(device)
