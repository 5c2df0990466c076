"""What changed between the recipe a run began with and the one it is resumed with. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from soracli.core.errors import RecipeError


@dataclass(frozen=True)
class Change:
    """One key with two values, written as JSON; ``absent`` where a side lacks the key.

    Attributes:
        key: Dotted key, such as ``dit.depth``.
        old: Value the run began with.
        new: Value now.
    """

    key: str
    old: str
    new: str


def recipe_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Keys whose values differ, in order of the key.

    Args:
        old: Nested tables of JSON values (a tuple counts as a list).
        new: The same.
    """
    before, after = _flatten(old), _flatten(new)
    keys = sorted(before.keys() | after.keys())
    changes = [Change(key, before.get(key, "absent"), after.get(key, "absent")) for key in keys]
    return [change for change in changes if change.old != change.new]


def check_recipe_unchanged(
    old: Mapping[str, Any], new: Mapping[str, Any], allowed: Sequence[str], where: str
) -> list[str]:
    """Refuse a resume that would be another run.

    Args:
        old: Resolved values the run began with.
        new: Resolved values now.
        allowed: ``fnmatch`` patterns of dotted keys that may change (``loop.steps``, ``samples.*``).
        where: The run, named in the error.

    Returns:
        A line for each accepted change.

    Raises:
        RecipeError: A line for each other change: key, old value, new value, what to do.
    """
    changes = recipe_changes(old, new)
    refused = [change for change in changes if not any(fnmatchcase(change.key, pattern) for pattern in allowed)]
    if refused:
        raise RecipeError(
            [
                f"{where} began with {change.key} = {change.old}, now {change.new}: set it back, choose another --out, "
                "or begin a new run with its last checkpoint by --fork NEWRUN"
                for change in refused
            ]
        )
    return [f"{change.key} is now {change.new} (was {change.old})" for change in changes]


def with_defaults(table: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A nested table with what it lacks of ``defaults``: an older sora knew fewer keys, and did what is default now."""
    filled = {**defaults, **table}
    for key in table.keys() & defaults.keys():
        if isinstance(table[key], Mapping) and isinstance(defaults[key], Mapping):
            filled[key] = with_defaults(table[key], defaults[key])
    return filled


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys to JSON text; an empty table keeps its own key, so that it is not the same as none."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value, sort_keys=True)
    return flat
