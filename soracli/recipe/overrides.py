"""``--set KEY=VALUE``: changes to a recipe from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tomli

from soracli.recipe.describe import takes_only_text
from soracli.recipe.keys import dotted, item_section_of, locate, section_of, split_key
from soracli.recipe.section import Section


@dataclass(frozen=True)
class Override:
    """One key that ``--set`` changes.

    Attributes:
        path: The key, from the top of the recipe.
        value: What TOML made of the value.
        text: ``KEY=VALUE`` as it was typed, for messages.
    """

    path: tuple[str, ...]
    value: Any
    text: str


def parse_override(recipe_class: type[Section], text: str) -> list[Override]:
    """Read one ``KEY=VALUE``; a whole table (``dit={depth = 12}``) gives one override for each of its keys.

    The value is TOML, or a bare string where it is none, so ``flow.prediction=noise`` needs no quotes inside quotes.
    Where the recipe holds text, ``run.name=2024`` is text too. Whether the key exists is not judged here.

    Raises:
        ValueError: If there is no ``=``, no key, or the key goes on below a value; the message says what to write.
    """
    key, equals, written = text.partition("=")
    if not equals:
        raise ValueError(f"no '=' found; write --set {text}=VALUE")
    try:
        path = split_key(key.strip())
    except ValueError:
        raise ValueError(f"'{key.strip()}' is no key; write it as in --set dit.depth=12") from None
    place = locate(recipe_class, path)
    if place.rest and place.field is not None:
        name = dotted(place.path)
        if item_section_of(place.field.annotation):
            raise ValueError(f"'{name}' is a list of tables; set it whole: --set '{name}=[{{ ... }}]'")
        if not _is_free_table(place.field.annotation):
            raise ValueError(f"'{name}' is a value, not a table")
    annotation = place.field.annotation if place.field and not place.rest else None
    value = _read(written.strip(), text_only=takes_only_text(annotation))
    below = section_of(annotation)
    if below and not isinstance(value, dict):
        raise ValueError(f"'{dotted(path)}' is a table; set one of its keys: {', '.join(below.model_fields)}")
    return _flat(recipe_class, path, value, text)


def apply_overrides(data: dict[str, Any], overrides: list[Override]) -> None:
    """Put each override into parsed TOML, in place and in order; the last one of a key wins."""
    for override in overrides:
        table: Any = data
        for key in override.path[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                break  # the file has a value where a table belongs, which is reported for the file
        else:
            table[override.path[-1]] = override.value


def _read(written: str, *, text_only: bool) -> Any:
    try:
        parsed = tomli.loads(f"value = {written}")
    except (ValueError, RecursionError):
        return written
    # A line break in the argument could smuggle in a second key.
    value = parsed["value"] if len(parsed) == 1 else written
    return written if text_only and not isinstance(value, str) else value


def _flat(recipe_class: type[Section], path: tuple[str, ...], value: Any, text: str) -> list[Override]:
    place = locate(recipe_class, path)
    if isinstance(value, dict) and place.field and not place.rest and section_of(place.field.annotation):
        return [item for key, below in value.items() for item in _flat(recipe_class, (*path, key), below, text)]
    return [Override(path, value, text)]


def _is_free_table(annotation: Any) -> bool:
    return annotation is dict or getattr(annotation, "__origin__", None) is dict
