"""Parts of a checkpoint in one file, or in several that have some rows of every tensor each.

::

    model.safetensors                   all tensors
    model-00001-of-00002.safetensors    the first rows of each, and whatever has no rows
    model-00002-of-00002.safetensors    the rows that follow

Joined along their first axis, in the order of the files, the slices of a tensor are the tensor: how many there are says
nothing of how many will read them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from soracli.core.errors import ArtifactError

_SLICE = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")

Join = Callable[[str, Sequence[Any]], Tensor]
"""What is read of a tensor, by its name, from the open files that have slices of it, in order."""


def slice_name(part: str, number: int, num_slices: int) -> str:
    """Name without its ending of the file with slice ``number``, from 0, of a part."""
    return f"{part}-{number + 1:05d}-of-{num_slices:05d}"


def is_slice(file: str) -> bool:
    """Whether a file has a slice of a part."""
    return _SLICE.fullmatch(file) is not None


def files_by_part(files: Iterable[str]) -> dict[str, list[str]]:
    """The names of the files of each part, in order.

    Args:
        files: Names of all files of a checkpoint.

    Raises:
        ArtifactError: If a part lacks a slice; names the part.
    """
    parts: dict[str, list[str]] = {}
    for file in sorted(files):
        if found := _SLICE.fullmatch(file):
            parts.setdefault(found[1], []).append(file)
        elif file.endswith(".safetensors"):
            parts.setdefault(file.removesuffix(".safetensors"), []).append(file)
    for part, names in parts.items():
        whole = [f"{slice_name(part, number, len(names))}.safetensors" for number in range(len(names))]
        if names not in (whole, [f"{part}.safetensors"]):
            raise ArtifactError(f"the slices of '{part}' are not complete: {', '.join(names)}")
    return parts


def joined(name: str, files: Sequence[Any]) -> Tensor:
    """The whole tensor."""
    tensors: list[Tensor] = [file.get_tensor(name) for file in files]
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]


def read_part(files: Sequence[Path], device: torch.device | str, join: Join) -> dict[str, Tensor]:
    """The tensors of a part.

    Args:
        files: In the order of the slices.
        device: Where they go.
        join: What is read of each.

    Raises:
        OSError, SafetensorError: If a file cannot be read.
    """
    with ExitStack() as stack:
        holders: dict[str, list[Any]] = {}
        for path in files:
            file = stack.enter_context(safe_open(path, framework="pt", device=str(device)))
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                holders.setdefault(name, []).append(file)
        return {name: join(name, each) for name, each in holders.items()}
