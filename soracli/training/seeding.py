"""Random numbers that depend on what they are for, never on rank, worker, or how often a run was stopped.

Everything random names its purpose: ``generator_for(seed, "noise", step, sample)``. So there is no generator state to
save: a resumed run, another number of ranks and another number of loader workers draw the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

import torch
from torch import Tensor


def derive_seed(seed: int, *keys: str | int) -> int:
    """A seed in [0, 2**63) for one purpose: SHA-256 of the seed and the keys, the same on every machine."""
    digest = hashlib.sha256(json.dumps([seed, *keys]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, *keys: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose.

    torch's CPU generator uses the low 32 bits of its seed. Draw on the CPU and move the numbers where the result
    should not depend on the device.

    Args:
        seed: The run's seed.
        keys: What the numbers are for, such as ``"noise", step, sample``.
        device: Where the numbers are drawn.
    """
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *keys))


def seed_global(seed: int, *keys: str | int) -> None:
    """Seed torch's own generators (dropout, initial weights) for one purpose, such as ``"dropout", step, rank``."""
    torch.manual_seed(derive_seed(seed, *keys))


def data_order(seed: int, num_samples: int, epoch: int) -> Tensor:
    """The order in which one epoch visits the samples: a permutation of ``0 .. num_samples - 1``, int64."""
    return torch.randperm(num_samples, generator=generator_for(seed, "order", epoch))


def batch_indices(seed: int, num_samples: int, batch_size: int, step: int) -> list[int]:
    """Samples of the global batch of one step; epochs follow each other without a gap or a short batch.

    Args:
        seed: The run's seed.
        num_samples: Samples there are, at least 1.
        batch_size: Samples in a step, over all ranks; may be more than ``num_samples``.
        step: Index of the step, from 0.
    """
    first = step * batch_size
    positions = range(first, first + batch_size)
    return [int(_kept_order(seed, num_samples, place // num_samples)[place % num_samples]) for place in positions]


@lru_cache(maxsize=4)
def _kept_order(seed: int, num_samples: int, epoch: int) -> Tensor:
    return data_order(seed, num_samples, epoch)
