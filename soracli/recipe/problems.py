"""What is wrong with a recipe, a line each: where, which key, what was valid, what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from soracli.core.errors import nearest
from soracli.recipe.describe import hint, shown, valid_values, value_at
from soracli.recipe.keys import Place, class_keys, dotted, locate, section_of, table_at
from soracli.recipe.lines import KeyPath
from soracli.recipe.section import Section


@dataclass(frozen=True, order=True)
class Problem:
    """One line of a ``RecipeError``; they sort by line, those of ``--set`` last.

    Attributes:
        order: Sorting key: (0, 0) for the file as a whole, (1, line), (2, number of the override).
        text: The line to show.
    """

    order: tuple[int, int]
    text: str


@dataclass(frozen=True)
class Origins:
    """Where each key of a recipe was written.

    Attributes:
        label: The file as the user named it; ``recipe`` when there is none.
        lines: The line of each key of the file.
        overrides: For keys that ``--set`` gave: their number on the command line and their text.
    """

    label: str = "recipe"
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overrides: Mapping[KeyPath, tuple[int, str]] = field(default_factory=dict)

    def knows(self, path: KeyPath) -> bool:
        """Whether the user wrote exactly this key."""
        return path in self.lines or path in self.overrides

    def problem(self, path: KeyPath, text: str) -> Problem:
        """A problem of ``path``, placed where it or the nearest table around it was written."""
        for length in range(len(path), 0, -1):
            here = path[:length]
            if here in self.overrides:
                number, written = self.overrides[here]
                return Problem((2, number), f"--set {written}: {text}")
            if here in self.lines:
                return Problem((1, self.lines[here]), f"{self.label}:{self.lines[here]}: {text}")
        return Problem((0, 0), f"{self.label}: {text}")

    def of(self, path: KeyPath) -> str:
        """``--set``, ``file.toml:12`` or ``default``."""
        if any(key[: len(path)] == path for key in self.overrides):  # one key of a free table is set
            return "--set"
        for length in range(len(path), 0, -1):
            here = path[:length]
            if here in self.overrides:
                return "--set"
            # A table's header is not where the defaults of its keys come from.
            if here in self.lines and length == len(path):
                # The name alone, so that a saved recipe is the same wherever it was made.
                return f"{PurePath(self.label).name}:{self.lines[here]}"
        return "default"


def problems_of(
    error: ValidationError, recipe_class: type[Section], data: Mapping[str, Any], origins: Origins
) -> list[Problem]:
    """One problem for each key that pydantic refused.

    Args:
        error: What validation of ``data`` raised.
        recipe_class: The class it was validated against.
        data: The parsed TOML with overrides applied.
        origins: Where its keys were written.
    """
    found: dict[tuple[KeyPath, str], Problem] = {}
    for details in error.errors(include_url=False):
        place = locate(recipe_class, details["loc"])
        problem = _problem(details, place, recipe_class, data, origins)
        # A list with three bad items, or a union that refuses in three ways, is one problem.
        found.setdefault((place.path, problem.text if details["type"] == "value_error" else ""), problem)
    return list(found.values())


def _problem(
    details: ErrorDetails, place: Place, recipe_class: type[Section], data: Mapping[str, Any], origins: Origins
) -> Problem:
    path = place.path
    if details["type"] in ("value_error", "assertion_error"):
        return _check_problem(details, path, recipe_class, origins)
    if place.field is None and details["type"] == "extra_forbidden":
        return origins.problem(path, _unknown_key(recipe_class, path, is_table=isinstance(value_at(data, path), dict)))
    if place.field is None:
        return origins.problem(path, _prefix(path) + f"must be a table, got {shown(value_at(data, path))}")
    if details["type"] == "missing" and not place.rest:
        missing = (
            f"missing table [{dotted(path)}]"
            if section_of(place.field.annotation)
            else (f"missing key '{dotted(path)}': {valid_values(place.field)}")
        )
        return origins.problem(path, missing)
    value = value_at(data, path)
    if place.rest and isinstance(value, dict):
        # Inside a table that has no section class of its own only pydantic knows what was wanted.
        return origins.problem(path + place.rest, f"'{dotted(path + place.rest)}': {details['msg'].lower()}")
    return origins.problem(
        path, f"'{dotted(path)}' must be {valid_values(place.field)}, got {shown(value)}" + hint(place.field, value)
    )


def _check_problem(details: ErrorDetails, path: KeyPath, recipe_class: type[Section], origins: Origins) -> Problem:
    """A check written in a recipe class failed: show it at the first key it names that the user wrote."""
    cause = details.get("ctx", {}).get("error")
    message = str(cause) if cause is not None else details["msg"]
    if table_at(recipe_class, path) is None:
        return origins.problem(path, f"'{dotted(path)}': {message}")
    named = [path + tuple(word.split(".")) for word in re.findall(r"[A-Za-z_][\w.]*\w|\w", message)]
    written = [key for key in named if origins.knows(key)]
    written.sort(key=lambda key: key not in origins.overrides)
    return origins.problem(written[0] if written else path, (f"[{dotted(path)}] " if path else "") + message)


def _unknown_key(recipe_class: type[Section], path: KeyPath, *, is_table: bool) -> str:
    """What to say about a key that the class does not have, with the nearest that it has."""
    if is_table:
        return _unknown_table(recipe_class, path)
    last = str(path[-1])
    siblings = list((table_at(recipe_class, path[:-1]) or recipe_class).model_fields)
    keys = list(class_keys(recipe_class))
    said = f"unknown key '{dotted(path)}'"
    near = nearest(last, siblings)
    if near and near.lower() == last.lower():
        return f"{said}; did you mean '{dotted((*path[:-1], near))}'?"
    if owners := [f"[{dotted(key[:-1])}]" for key in keys if key[-1] == last and len(key) > 1]:
        return f"{said}; '{last}' belongs to {' or '.join(owners)}"
    if near:
        return f"{said}; did you mean '{dotted((*path[:-1], near))}'?"
    elsewhere = {key[-1]: key for key in reversed(keys)}
    if near := nearest(last, elsewhere):
        return f"{said}; did you mean '{dotted(elsewhere[near])}'?"
    return f"{said}; valid keys here: {', '.join(siblings)}" if siblings else f"{said}; this table has no keys"


def _unknown_table(recipe_class: type[Section], path: KeyPath) -> str:
    tables = [key for key in class_keys(recipe_class) if table_at(recipe_class, key)]
    by_last = {key[-1]: dotted(key) for key in reversed(tables)}
    said = f"unknown table [{dotted(path)}]"
    if near := nearest(str(path[-1]), by_last):
        return f"{said}; did you mean [{by_last[near]}]?"
    return f"{said}; valid tables: {', '.join(map(dotted, tables)) or 'none'}"


def _prefix(path: KeyPath) -> str:
    return f"'{dotted(path)}' " if path else "a recipe "
