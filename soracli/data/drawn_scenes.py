"""Scenes drawn once into a folder of safetensors, ``CHUNK`` a file, for trainings that show them again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.files import finish_file, machine_error, part_name
from soracli.core.progress import Reporter

CHUNK = 50
"""Scenes in a file."""


def write_drawn(
    folder: Path,
    scenes: int,
    draw: Callable[[range], dict[str, Tensor]],
    *,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Draw scenes ``0 .. scenes - 1`` into a folder; files that are there already are kept.

    Args:
        folder: Made if it is not there; it should belong to these settings alone.
        scenes: How many.
        draw: Draws scenes by index: tensors whose first axis is the scene.
        reporter: Told how far it is.
        stop: Asked before each file; when it says so, the rest is left for another call.
        share: Number and count of this process among those that draw together: each takes every n-th file.

    Raises:
        MachineError: If the folder cannot be written.
    """
    starts = range(0, scenes, CHUNK)[share[0] :: share[1]]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with reporter.task("drawing scenes", sum(min(CHUNK, scenes - first) for first in starts), "scenes") as task:
            for first in starts:
                if stop():
                    return
                indices = range(first, min(first + CHUNK, scenes))
                path = folder / f"scenes_{first // CHUNK:05d}_{len(indices)}.safetensors"
                if not path.exists():
                    save_file(draw(indices), part_name(path))
                    finish_file(part_name(path), path)
                task.advance(len(indices))
    except OSError as error:
        raise machine_error(error, folder, "cannot write scenes to") from error
    except SafetensorError as error:
        raise MachineError(f"cannot write scenes to {folder}: {error}") from error


def read_drawn(folder: Path, indices: Sequence[int], keys: Sequence[str]) -> dict[str, Tensor]:
    """Read some of what ``write_drawn`` wrote.

    Raises:
        ArtifactError: If a file is missing or damaged.
    """
    rows = []
    for index in indices:
        found = sorted(folder.glob(f"scenes_{index // CHUNK:05d}_*.safetensors"))
        if not found:
            raise ArtifactError(f"{folder} lacks scene {index}; run the same command again to draw it")
        try:
            with safe_open(found[-1], "pt") as file:
                rows.append({key: file.get_slice(key)[index % CHUNK] for key in keys})
        except (SafetensorError, OSError) as error:
            raise ArtifactError(
                f"{found[-1]} is damaged ({error}); remove it and run the same command again"
            ) from error
    return {key: torch.stack([row[key] for row in rows]) for key in keys}
