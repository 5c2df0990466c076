"""Recipe names and where the files are: ``nano/vae`` is ``recipes/nano/vae.toml``, its curve is beside it."""

from __future__ import annotations

from pathlib import Path

import soracli
from soracli.core.errors import MachineError, UsageError, nearest

SAVED_NAME = "recipe.toml"
"""The file in a run folder that holds its resolved recipe."""

_REFERENCE_FOLDER = "reference"
"""Folder beside recipes that holds the reference curves made with them."""


def recipe_folder() -> Path:
    """The folder of the recipes that come with sora.

    In a checkout it is the repository's ``recipes/``, in an installed wheel ``soracli/recipe_files/``.

    Raises:
        MachineError: If the installation holds neither.
    """
    package = Path(soracli.__file__).parent
    checkout = package.parent / "recipes"
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    if (package / "recipe_files").is_dir():
        return package / "recipe_files"
    raise MachineError(f"this installation of sora has no recipes in {package / 'recipe_files'}; install it again")


def list_recipes() -> list[str]:
    """The names of all recipes that come with sora, sorted: ``base/dit``, ``nano/dit``, ``nano/vae``."""
    folder = recipe_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml"))


def find_recipe(name_or_path: str) -> Path:
    """The file of a recipe.

    Args:
        name_or_path: A name such as ``nano/vae``, a path of a TOML file, or a run folder (its resolved recipe).
            What ends in ``.toml`` or begins with ``.`` or ``/`` is a path first, anything else a name first.

    Raises:
        UsageError: If there is none; names the nearest.
    """
    path = Path(name_or_path)
    is_path = path.suffix == ".toml" or path.is_absolute() or name_or_path.startswith((".", "~"))
    named = recipe_folder() / (path if path.suffix == ".toml" else Path(f"{path}.toml"))
    choices = [path.expanduser(), named] if is_path else [named, path]
    for choice in choices:
        if choice.is_file():
            return choice
        if (choice / SAVED_NAME).is_file():
            return choice / SAVED_NAME
    raise UsageError(_not_found(name_or_path, path))


def list_references() -> list[str]:
    """The recipes whose reference curves come with sora, sorted: ``nano/vae`` is ``nano/reference/vae.json``."""
    folder = recipe_folder()
    found = (path.relative_to(folder) for path in folder.rglob(f"{_REFERENCE_FOLDER}/*.json"))
    return sorted((path.parent.parent / path.stem).as_posix() for path in found)


def find_reference(name_or_path: str) -> Path:
    """The file of a reference curve.

    Args:
        name_or_path: The name of a recipe, such as ``nano/vae``, or a path. What ends in ``.json`` or begins with ``.``
            or ``/`` is a path first, anything else a name first.

    Raises:
        UsageError: If there is none; names the nearest.
    """
    path = Path(name_or_path)
    is_path = path.suffix == ".json" or path.is_absolute() or name_or_path.startswith((".", "~"))
    name = path.with_suffix("") if path.suffix in (".json", ".toml") else path
    named = recipe_folder() / name.parent / _REFERENCE_FOLDER / f"{name.name}.json"
    for choice in [path.expanduser(), named] if is_path else [named, path]:
        if choice.is_file():
            return choice
    names = list_references()
    alike = _nearest_names(name.as_posix(), names)
    end = f"did you mean {' or '.join(alike)}?" if alike else f"there are {', '.join(names) or 'none'}"
    raise UsageError(f"no reference '{name_or_path}'; {end}; one is made of a run by: sora compare RUN --write FILE")


def _not_found(name: str, path: Path) -> str:
    if "=" in name:
        return f"no recipe '{name}'; to change a key of a recipe write: --set {name}"
    names = list_recipes()
    below = [choice for choice in names if choice.startswith(f"{name.rstrip('/')}/")]
    if below:
        return f"'{name}' is a folder of recipes; take one of {', '.join(below)}"
    beside = [str(file) for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
    if path.suffix == ".toml" and (near := nearest(str(path), beside)):
        return f"no recipe file '{name}'; did you mean '{near}'?"
    alike = _nearest_names(path.with_suffix("").as_posix() if path.name else "", names)
    end = f"did you mean {' or '.join(alike)}?" if alike else f"there are {', '.join(names) or 'none'}"
    return f"no recipe '{name}'; {end}"


def _nearest_names(wanted: str, names: list[str]) -> list[str]:
    """Names that end a longer path, else that end alike (``vae`` of ``nano/vae``), else the one spelt most alike."""
    last = wanted.rpartition("/")[2]
    same = [name for name in names if wanted.endswith(f"/{name}")]
    same = same or [name for name in names if name.rpartition("/")[2] == last]
    near = nearest(wanted, names)
    return [f"'{name}'" for name in same or ([near] if near else [])]
