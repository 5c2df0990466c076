"""A new run that begins with the last checkpoint of another, which stays as it is: for a recipe that may not change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soracli.core.errors import ArtifactError, UsageError
from soracli.core.files import check_free_disk
from soracli.training.checkpoint import list_checkpoints, load_latest

NOT_COPIED = {"lock", "stopped", "run.json", "recipe.toml"}
"""Files of a run that are about itself."""


def fork_run(old: Path, new: Path, note: Callable[[str], None]) -> dict[str, Any]:
    """Copy the newest whole checkpoint of a run into a folder that is no run yet, and what else its loop reads.

    Args:
        old: A run; it is only read.
        new: The folder of the new run, owned by the caller.
        note: Told which damaged checkpoints were skipped.

    Returns:
        JSON values that say where the new run comes from.

    Raises:
        UsageError: If ``new`` is a run, or ``old`` has no checkpoint.
        ArtifactError: If no checkpoint of ``old`` is whole.
        MachineError: If the disk is too full.
    """
    if (new / "run.json").is_file():
        raise UsageError(f"{new} is a run already: go on with it by --out {new}, or fork into another folder")
    found = load_latest(old / "checkpoints", note)
    if found is None:
        raise UsageError(f"{old} has no checkpoint to begin with yet: choose another --out instead")
    files = [file for file in old.iterdir() if file.is_file() and file.name not in NOT_COPIED]
    files = [file for file in files if not file.name.startswith((".", "stopped."))]
    size = sum(file.stat().st_size for file in (*files, *found.path.iterdir()))
    check_free_disk(new, size, f"a copy of {found.path}")
    for file in files:
        shutil.copyfile(file, new / file.name)
    (new / "checkpoints").mkdir()
    draft = new / "checkpoints" / f"{found.path.name}.part"
    shutil.copytree(found.path, draft)
    draft.rename(new / "checkpoints" / found.path.name)
    # The other run may have pruned it meanwhile, file by file.
    if not list_checkpoints(new / "checkpoints") or load_latest(new / "checkpoints", note) is None:
        raise ArtifactError(f"{found.path} vanished while it was copied: run the same command again")
    return {"run": str(old), "step": found.step}
