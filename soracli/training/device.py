"""Which device, which number type, how many threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from soracli.core.errors import MachineError, UsageError, nearest
from soracli.training.config import Precision

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def available_devices() -> list[str]:
    """What this process can compute on, fastest kind first: ``["cuda:0", "cuda:1", "cpu"]``."""
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device for ``--device``.

    Args:
        name: ``auto`` (the first kind there is), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        local_rank: Number of this process on its machine; ``auto`` and ``cuda`` give each its own GPU. A process that
            was given one GPU of its own (``--gpus-per-task``) sees only that, as ``cuda:0``.

    Raises:
        UsageError: If the name is no device.
        MachineError: If the device is not here; names those that are.
    """
    found = available_devices()
    kinds = ["auto", "cpu", "cuda", "mps"]
    kind, _, index = name.partition(":")
    if kind not in kinds or (index and not (kind == "cuda" and index.isdecimal())):
        guess = nearest(kind, kinds)
        raise UsageError(
            f"unknown device '{name}'{f'; did you mean {guess}?' if guess else ''} (auto, cpu, cuda, cuda:N, mps)"
        )
    if kind == "auto":
        kind = found[0].partition(":")[0]
    if kind == "cuda":
        count = sum(device.startswith("cuda") for device in found)
        wanted = int(index) if index else 0 if count == 1 else local_rank
        name = f"cuda:{wanted}"
    else:
        name = kind
    if name not in found:
        raise MachineError(f"device {name} is not available here; available: {', '.join(found)}")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number type for ``--dtype``.

    Args:
        name: ``auto`` (bfloat16 where a GPU computes it natively, else float32), float32, bfloat16 or float16.
        device: Where the numbers will be.

    Raises:
        UsageError: If the name is no number type, or float16 is asked of a CPU, where it is slower than float32.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and computes_bfloat16(device) else torch.float32
    if name not in DTYPES:
        guess = nearest(name, DTYPES)
        raise UsageError(
            f"unknown dtype '{name}'{f'; did you mean {guess}?' if guess else ''} (auto, {', '.join(DTYPES)})"
        )
    if name == "float16" and device.type == "cpu":
        raise UsageError("float16 is not for the CPU: use --dtype float32, or bfloat16")
    return DTYPES[name]


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively; where it is emulated it is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def product_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What matrices are multiplied in: ``auto`` is bfloat16 where ``computes_bfloat16``, else float32."""
    wanted = precision == "bfloat16" or (precision == "auto" and computes_bfloat16(device))
    return torch.bfloat16 if wanted else torch.float32


def mixed_precision(precision: Precision, device: torch.device, keeps_copies: bool = True) -> torch.autocast:
    """A context that multiplies in ``product_dtype`` and keeps weights, sums and losses in float32.

    ``keeps_copies``: whether weights are turned into bfloat16 once for all passes inside; else each time anew, so that
    copies of weights that ranks hold between them go with the weights.
    """
    wanted = product_dtype(precision, device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted, cache_enabled=keeps_copies)


def usable_cores(environ: Mapping[str, str] | None = None, quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPU cores this process may use: its affinity, a container's quota and Slurm's ``--cpus-per-task`` all count.

    Args:
        environ: Environment to read, this process's by default.
        quota_file: The container's quota, ``"max 100000"`` or ``"200000 100000"`` (cgroup v2).
    """
    environ = os.environ if environ is None else environ
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no cgroup v2 here: no quota to respect
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    task = environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cores, int(task)) if task.isdecimal() and int(task) else cores


def set_threads(num_threads: int) -> int:
    """Let torch use this many CPU threads (0: all usable cores).

    Returns:
        How many that is.
    """
    chosen = num_threads or usable_cores()
    torch.set_num_threads(chosen)
    return chosen
