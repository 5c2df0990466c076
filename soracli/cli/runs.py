"""Where commands write when nothing is said, and which of several ranks speaks."""

from __future__ import annotations

import os
from pathlib import Path

from soracli.core.errors import ArtifactError


def default_run(recipe: str) -> Path:
    """``runs/nano/vae`` for ``nano/vae``; a recipe of the user's own gives the name of its file or folder."""
    from soracli.recipe.find import list_recipes

    name = recipe.removesuffix(".toml")
    return Path("runs") / (name if name in list_recipes() else Path(name).resolve().name)


def default_input(folder: str, option: str, command: str) -> Path:
    """What an earlier stage wrote where it writes by default.

    Args:
        folder: Its folder.
        option: What names another one.
        command: What makes it.

    Raises:
        ArtifactError: If it is not there.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ArtifactError(f"{folder} is not there: make it with {command}, or name another with {option}")
    return path


def is_speaker() -> bool:
    """Whether this process tells people anything: rank 0 of several, or the only one."""
    from soracli.training.ranks import rank_place

    place = rank_place(os.environ)
    return place is None or place.rank == 0


def has_peers() -> bool:
    """Whether this is one of several ranks."""
    from soracli.training.ranks import rank_place

    return rank_place(os.environ) is not None
