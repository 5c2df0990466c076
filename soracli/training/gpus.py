"""GPUs that a training can be planned for: what their makers say of them. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from soracli.core.errors import UsageError, nearest


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU.

    Attributes:
        name: As in ``--gpu``.
        rate: Operations a second of dense bfloat16 products summed in float32, at most.
        memory: Bytes.
    """

    name: str
    rate: float
    memory: int


# Data sheets of NVIDIA and AMD; where they state a rate with sparsity, half of it. Nothing here was measured.
GPUS = {
    name: Gpu(name, rate * 1e12, memory * 10**9)
    for name, rate, memory in (
        ("h100", 989, 80),
        ("h100-pcie", 756, 80),
        ("h200", 989, 141),
        ("b200", 2250, 180),
        ("a100-80gb", 312, 80),
        ("a100-40gb", 312, 40),
        ("l40s", 362, 48),
        ("l4", 121, 24),
        ("a10", 125, 24),
        ("rtx-a6000", 155, 48),
        ("rtx-4090", 165, 24),
        ("rtx-3090", 71, 24),
        ("mi300x", 1307, 192),
    )
}
"""By name."""


def find_gpu(name: str) -> Gpu:
    """The GPU of a name.

    Raises:
        UsageError: If there is none; names the nearest.
    """
    if name.lower() in GPUS:
        return GPUS[name.lower()]
    near = nearest(name.lower(), GPUS)
    meant = f"did you mean {near}? " if near else ""
    raise UsageError(f"--gpu {name} is not known; {meant}there are {', '.join(GPUS)}, and cpu for this machine")
