"""Pickles that make a file when they are loaded, in the forms in which they come."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import torch


class _Bomb:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


def plain_bomb(made: Path) -> bytes:
    """A bare pickle, as ``.metadata`` of torch's distributed checkpoints is, that makes the folder ``made``."""
    return pickle.dumps(_Bomb(made))


def torch_bomb(made: Path, path: Path) -> bytes:
    """The same as ``torch.save`` writes it: a zip archive with the pickle inside; ``path`` is written meanwhile."""
    torch.save({"state_dict": _Bomb(made)}, path)
    return path.read_bytes()
