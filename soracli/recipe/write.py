"""Write a resolved recipe as TOML that loads to the same recipe, with the origin of each value beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soracli.recipe.keys import dotted, is_table_list
from soracli.recipe.lines import KeyPath
from soracli.recipe.load import Loaded
from soracli.recipe.section import Section
from soracli.recipe.toml_text import toml_key, toml_value


def recipe_text(recipe: Section, origins: Mapping[str, str] | None = None) -> str:
    """A whole recipe as TOML, every value written out.

    Args:
        recipe: Any recipe; what is None is left out, as TOML has no null.
        origins: Origin of each value by dotted key, written as a comment behind it (``depth = 12  # --set``).

    Raises:
        TypeError: If a value has no form in TOML.
    """
    return "\n".join(_table(recipe, (), origins or {})) + "\n"


def write_recipe(loaded: Loaded[Any], path: Path) -> None:
    """Save a loaded recipe with its origins; the file is whole at every moment.

    Raises:
        OSError: If the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    part.write_text(recipe_text(loaded.recipe, loaded.origins), encoding="utf-8")
    os.replace(part, path)


def _table(section: Section, path: KeyPath, origins: Mapping[str, str]) -> list[str]:
    """The lines of one table: its values first, since what follows a header belongs to that header."""
    fields = {name: getattr(section, name) for name in type(section).model_fields}
    lines = []
    for name, value in fields.items():
        if value is None or isinstance(value, Section) or is_table_list(value):
            continue
        origin = origins.get(dotted((*path, name)))
        # One line whatever the file was called: a comment must not end early.
        comment = "  # " + " ".join(origin.split()) if origin else ""
        lines.append(f"{toml_key(name)} = {toml_value(value)}{comment}")
    for name, value in fields.items():
        if isinstance(value, Section):
            here = (*path, name)
            lines += ["", f"[{_header(here)}]", *_table(value, here, origins)]
        elif is_table_list(value):
            for index, item in enumerate(value):
                here = (*path, name, index)
                lines += ["", f"[[{_header(here)}]]", *_table(item, here, origins)]
    return lines


def _header(path: KeyPath) -> str:
    return ".".join(toml_key(key) for key in path if isinstance(key, str))
