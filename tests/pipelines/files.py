"""Latents files and the decoded frames, for tests of what writes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from soracli.models.store import save_vae
from tests.models.tiny import SPEC, tiny_vae


def write_vae(folder: Path, nan: str = "", **changes: Any) -> Path:
    """A tiny VAE; ``nan`` names a weight that is not finite."""
    vae = tiny_vae(**changes)
    if nan:
        vae.state_dict()[nan].view(-1)[0] = torch.nan
    save_vae(folder, vae, torch.tensor(SPEC.mean), torch.tensor(SPEC.std), {})
    return folder


class Listener:
    """Keeps what it is told; sends this process a signal after so many blocks of frames."""

    def __init__(self, stop_after: int = 0) -> None:
        self.notes: list[str] = []
        self.frames = 0.0
        self.total: float | None = None
        self._stop_after = stop_after

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator[Listener]:
        self.total = total
        yield self

    def advance(self, count: float = 1, **figures: float | str) -> None:
        self.frames += count
        self._stop_after -= 1
        if self._stop_after == 0:
            os.kill(os.getpid(), signal.SIGINT)


class KeptFrames:
    """Stands for ``VideoWriter`` and keeps the frames as they are, which no video codec would."""

    last: KeptFrames

    def __init__(self, path: Path, **given: Any) -> None:
        self.path, self.part, self.given = path, path.with_suffix(".part"), given
        self.parts: list[np.ndarray] = []
        type(self).last = self

    @property
    def num_frames(self) -> int:
        return sum(map(len, self.parts))

    @property
    def frames(self) -> np.ndarray:
        """All of them, ``(T, H, W, 3)``."""
        return np.concatenate(self.parts)

    def __enter__(self) -> KeptFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def write(self, frames: np.ndarray) -> None:
        self.parts.append(frames.copy())
