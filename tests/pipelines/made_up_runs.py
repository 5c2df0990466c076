"""Run folders of trainings that never were: their story is known."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soracli.pipelines.recipes import RECIPES


def make_run(
    folder: Path,
    *,
    kind: str = "vae.train",
    steps: int = 2000,
    seed: int = 0,
    speed: float = 1.0,
    seconds_per_step: float = 0.5,
    broken_from: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run that learns at some speed.

    Args:
        folder: The run folder.
        kind: Of its recipe.
        steps: Done; the recipe has 2000.
        seed: Of its noise, and of its recipe.
        speed: 1 is usual.
        seconds_per_step: Wall time.
        broken_from: First step whose loss is not a number.
        changes: Values of the recipe's sections, such as ``{"optimiser": {"learning_rate": 0.1}}``.
    """
    resolved: dict[str, Any] = {**RECIPES[kind]().model_dump(mode="json"), "clips": str(folder / "clips.jsonl")}
    resolved["loop"] |= {"steps": 2000, "seed": seed}
    for section, values in (changes or {}).items():
        resolved[section] |= values
    draw = random.Random(seed)
    lines = []
    for step in range(10, steps + 1, 10):
        head = {"step": step, "seconds": step * seconds_per_step}
        left = math.exp(-step * speed / 400)
        loss: float | str = 0.1 + left + draw.gauss(0, 0.03)
        if broken_from is not None and step >= broken_from:
            loss = "nan"
        lines.append({**head, "loss": loss, "psnr": 30 - 12 * left + draw.gauss(0, 0.4), "gradient_norm": 1 + left})
        if step % 200 == 0:
            lines.append({**head, "held_out_psnr": 31 - 12 * left + draw.gauss(0, 0.05)})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"format": 1, "resolved": resolved}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
