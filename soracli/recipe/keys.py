"""The keys of a recipe class: their dotted names, their fields, and what lies below them."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

import tomli
from pydantic.fields import FieldInfo

from soracli.recipe.lines import KeyPath
from soracli.recipe.section import Section
from soracli.recipe.toml_text import toml_key


@dataclass(frozen=True)
class Place:
    """Where a path leads in a recipe class.

    Attributes:
        path: As much of the path as the class knows, plus the first unknown key if there is one.
        section: The class of the table that holds (or lacks) the last key.
        field: The field at ``path``; None if the table has no such key, or if ``path`` is a table itself by number.
        rest: What was left of the path below ``field``.
    """

    path: KeyPath
    section: type[Section]
    field: FieldInfo | None
    rest: KeyPath


def dotted(path: KeyPath) -> str:
    """A path as people write it: ``dit.depth``, ``sources[1].path``, ``tags."a b"``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{toml_key(key)}" if text else toml_key(key)
    return text


def split_key(text: str) -> tuple[str, ...]:
    """The keys of a dotted name such as ``dit.depth``.

    Raises:
        ValueError: If ``text`` is no dotted TOML key.
    """
    if "\n" in text or "=" in text:
        raise ValueError(f"{text!r} is no key")
    try:
        level = tomli.loads(f"{text} = 0")
    except tomli.TOMLDecodeError as error:
        raise ValueError(f"{text!r} is no key") from error
    keys: list[str] = []
    while isinstance(level, dict):
        if len(level) != 1:
            raise ValueError(f"{text!r} is no key")
        key, level = next(iter(level.items()))
        keys.append(key)
    return tuple(keys)


def without_none(annotation: Any) -> Any:
    """The annotation without ``Annotated`` and without ``None`` (TOML cannot say null)."""
    if get_origin(annotation) is Annotated:
        return without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return without_none(members[0])
    return annotation


def section_of(annotation: Any) -> type[Section] | None:
    """The section class of a field that is a table, else None."""
    annotation = without_none(annotation)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def item_section_of(annotation: Any) -> type[Section] | None:
    """The section class of a field that is a list of tables, else None."""
    annotation = without_none(annotation)
    if get_origin(annotation) not in (tuple, list):
        return None
    members = {section_of(member) for member in get_args(annotation) if member is not Ellipsis}
    return members.pop() if len(members) == 1 else None


def locate(recipe_class: type[Section], path: KeyPath) -> Place:
    """Follow ``path`` through a recipe class as far as it goes."""
    section, field = recipe_class, None
    for index, key in enumerate(path):
        here, rest = path[: index + 1], path[index + 1 :]
        if isinstance(key, int):
            field = None
            continue
        field = section.model_fields.get(key)
        if field is None or not rest:
            return Place(here, section, field, rest)
        below = section_of(field.annotation)
        if below is None and isinstance(rest[0], int):
            below = item_section_of(field.annotation)
        if below is None:
            return Place(here, section, field, rest)
        section = below
    return Place(path, section, field, ())


def table_at(recipe_class: type[Section], path: KeyPath) -> type[Section] | None:
    """The section class of the table at ``path``, or None if a value stands there."""
    if not path:
        return recipe_class
    place = locate(recipe_class, path)
    if place.rest:
        return None
    if place.field is None:
        return place.section if isinstance(path[-1], int) else None
    return section_of(place.field.annotation)


def class_keys(recipe_class: type[Section]) -> Iterator[tuple[str, ...]]:
    """Every key of a class, tables and values, top down; lists of tables show the keys of an item."""
    for name, field in recipe_class.model_fields.items():
        yield (name,)
        below = section_of(field.annotation) or item_section_of(field.annotation)
        if below is not None:
            for path in class_keys(below):
                yield (name, *path)


def recipe_values(recipe: Section) -> Iterator[tuple[KeyPath, Any]]:
    """Every value of a recipe with its path, top down; what is None is left out, as TOML has no null."""
    for name in type(recipe).model_fields:
        value = getattr(recipe, name)
        if isinstance(value, Section):
            for path, item in recipe_values(value):
                yield (name, *path), item
        elif is_table_list(value):
            for index, section in enumerate(value):
                for path, item in recipe_values(section):
                    yield (name, index, *path), item
        elif value is not None:
            yield (name,), value


def is_table_list(value: Any) -> bool:
    """Whether a value is written as ``[[tables]]``: a list of nothing but sections, and not empty."""
    return isinstance(value, tuple | list) and bool(value) and all(isinstance(item, Section) for item in value)
