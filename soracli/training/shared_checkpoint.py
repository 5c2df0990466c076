"""A checkpoint that several ranks write: each the rows that it holds, and rank 0 the manifest once all have written.

It is as safe as one of a single writer (``soracli.training.checkpoint``): a draft, synced files, a manifest with all
hashes, then the name. What one rank cannot write ends all of them with its error, and leaves no draft.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor

from soracli.training.checkpoint import (
    SPARE_BYTES,
    begin_checkpoint,
    failures_named,
    final_folder,
    finish_checkpoint,
    remove_draft,
    write_parts,
)
from soracli.training.checkpoint_slices import slice_name
from soracli.training.distributed import all_mean, on_all, on_main
from soracli.training.sharding import Sharding


def save_shared_checkpoint(
    folder: Path,
    step: int,
    parts: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep: int,
    sharding: Sharding,
) -> Path:
    """Write one checkpoint; all ranks call this together, with a folder that all of them see.

    Args:
        folder: As ``save_checkpoint``.
        step: The same.
        parts: Tensors by part and name, of which ranks hold rows; whole ones are those of rank 0.
        state: JSON values; those of rank 0 are written.
        keep: Complete checkpoints to keep.
        sharding: Who holds what; of several replicas the first writes.

    Returns:
        The folder of the checkpoint.

    Raises:
        MachineError: On every rank, if the disk is too full or a rank cannot write.
    """
    world, writes = sharding.world, sharding.replica == 0
    own = {
        slice_name(name, sharding.own_slice, sharding.num_slices): held_rows(tensors, sharding)
        for name, tensors in (parts.items() if writes else ())
    }
    state_text = json.dumps(state, allow_nan=False, indent=1)
    size = sum(tensor.nbytes for tensors in own.values() for tensor in tensors.values())
    need = round(all_mean([float(size)], world)[0] * world.size) + len(state_text.encode()) + SPARE_BYTES

    def begin() -> bool:
        with failures_named(folder, step, need):
            return begin_checkpoint(folder, step, need)

    def write() -> dict[str, dict[str, Any]]:
        with failures_named(folder, step, need, clear=False):  # others may still be writing
            return write_parts(folder, step, own)

    def finish(files: dict[str, dict[str, Any]]) -> None:
        with failures_named(folder, step, need):
            finish_checkpoint(folder, step, files, state_text, keep)

    if on_main(begin, world):
        try:
            written = on_all(write, world)
        except Exception:  # whatever it was: no rank writes any more, and it is raised again
            if world.is_main:
                remove_draft(folder, step)
            raise
        on_main(lambda: finish({name: entry for files in written for name, entry in files.items()}), world)
    return final_folder(folder, step)


def held_rows(tensors: Mapping[str, Tensor], sharding: Sharding) -> dict[str, Tensor]:
    """What this rank writes: its rows of what is held between ranks, and on the first rank what is whole."""
    held: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, DTensor):
            rows = tensor.to_local()
            if len(rows):
                held[name] = rows
        elif sharding.own_slice == 0:
            held[name] = tensor
    return held
