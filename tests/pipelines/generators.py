"""A whole model that has learnt nothing but is not silent, small enough to make videos in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from soracli.models.generator import Generator, load_generator, save_dit
from soracli.models.store import load_vae, save_vae
from soracli.models.tokenizer import train_tokenizer
from tests.models.tiny import DIT, tiny_dit, tiny_text, tiny_vae

DEFAULTS = {"fps": 8.0, "size": [32, 32], "shift": 1.5, "first_block": 3, "block": 2, "window": 5, "num_steps": 2}


def write_model(folder: Path, **changes: Any) -> Path:
    """Compression (4, 8, 8), so with the DiT's patch sizes are multiples of 16; ``changes`` are the DiT's."""
    save_vae(folder / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {"trained": {"steps": 1, "seed": 0}})
    spec = load_vae(folder)[1]
    tokenizer = train_tokenizer(["a red ball bounces on green grass", "two cubes"], 300)
    facts = {"defaults": DEFAULTS, "trained": {"steps": 2, "seed": 0}}
    save_dit(
        folder, tiny_dit(**changes).state_dict(), DIT.model_copy(update=changes), tiny_text(), tokenizer, spec, facts
    )
    return folder


def tiny_generator(folder: Path, **changes: Any) -> Generator:
    return load_generator(write_model(folder, **changes))
