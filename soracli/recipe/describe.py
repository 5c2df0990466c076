"""What a key may hold and what it got instead, in the words of someone who writes TOML."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from soracli.core.errors import nearest
from soracli.recipe.keys import section_of
from soracli.recipe.toml_text import toml_value

_NOUNS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text in quotes", "texts in quotes"),
    Path: ("a path in quotes", "paths in quotes"),
}
_LONGEST_VALUE = 60


def valid_values(field: FieldInfo) -> str:
    """What a field accepts: ``a whole number of at least 1``, ``one of 'a', 'b'``, ``a list of 3 numbers``."""
    return _noun(field.annotation, field.metadata, plural=False)


def choices(annotation: Any) -> tuple[Any, ...]:
    """All values of the ``Literal`` types in an annotation, in order; empty if there is none."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return tuple(choice for member in get_args(annotation) for choice in choices(member))
    return ()


def takes_only_text(annotation: Any) -> bool:
    """Whether every value a field may hold is text, so that ``2024`` from a shell means ``"2024"``."""
    if get_origin(annotation) is Annotated:
        return takes_only_text(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return all(takes_only_text(member) for member in get_args(annotation) if member is not type(None))
    if get_origin(annotation) is Literal:
        return all(isinstance(choice, str) for choice in get_args(annotation))
    return annotation in (str, Path)


def shown(value: Any) -> str:
    """A value as TOML, cut to a length that fits a line."""
    text = toml_value(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def hint(field: FieldInfo, value: Any) -> str:
    """What was probably meant: ``; did you mean "noise"?`` or ``; write 12``; empty when nothing is close."""
    words = [choice for choice in choices(field.annotation) if isinstance(choice, str)]
    if isinstance(value, str) and (near := nearest(value, words) or nearest(value.lower(), words)):
        return f'; did you mean "{near}"?'
    meant = _meant(_scalar_types(field.annotation), value)
    return "" if meant is None else f"; write {toml_value(meant)}"


def _meant(accepted: set[Any], value: Any) -> Any:
    if bool in accepted:
        word = str(value).lower()
        if word in ("true", "yes", "on", "1"):
            return True
        return False if word in ("false", "no", "off", "0") else None
    if isinstance(value, float) and value.is_integer() and int in accepted:
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and accepted & {str, Path}:
        return str(value)
    if isinstance(value, str) and accepted & {int, float}:
        for kind in (int, float):
            try:
                number = kind(value)
            except ValueError:
                continue
            return number if kind in accepted or float in accepted else None
    return None


def _scalar_types(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return {kind for member in get_args(annotation) for kind in _scalar_types(member)}
    if get_origin(annotation) is Annotated:
        return _scalar_types(get_args(annotation)[0])
    return {annotation} if annotation in (int, float, bool, str, Path) else set()


def _noun(annotation: Any, metadata: Iterable[Any], *, plural: bool) -> str:
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _noun(members[0], [*members[1:], *metadata], plural=plural)
    if origin in (Union, types.UnionType):
        nouns = [_noun(member, metadata, plural=plural) for member in members if member is not type(None)]
        return " or ".join(dict.fromkeys(nouns))
    if origin is Literal:
        listed = ", ".join(toml_value(choice) for choice in members)
        return listed if plural or len(members) == 1 else f"one of {listed}"
    if origin in (tuple, list):
        return _list_noun(origin, members, metadata, plural=plural)
    if section_of(annotation) or origin is dict or annotation is dict:
        return "tables" if plural else "a table"
    singular_noun, plural_noun = _NOUNS.get(annotation, (f"a {_name(annotation)}", f"{_name(annotation)} values"))
    return (plural_noun if plural else singular_noun) + _range(metadata, counted=annotation is str)


def _list_noun(origin: Any, members: tuple[Any, ...], metadata: Iterable[Any], *, plural: bool) -> str:
    word = "lists" if plural else "a list"
    if not members:
        return word
    if origin is list or members[-1] is Ellipsis:
        return f"{word} of {_noun(members[0], (), plural=True)}{_range(metadata, counted=True)}"
    nouns = [_noun(member, (), plural=False) for member in members]
    if len(set(nouns)) == 1 and len(nouns) > 1:
        return f"{word} of {len(members)} {_noun(members[0], (), plural=True)}"
    return f"{word} of {len(members)}: {', '.join(nouns)}"


def _range(metadata: Iterable[Any], *, counted: bool) -> str:
    """The limits among the metadata, as words that follow a noun; ``counted`` limits are lengths."""
    limits: dict[str, Any] = {}
    for item in _flat(metadata):
        for name in ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "allow_inf_nan"):
            limit = getattr(item, name, None)
            if limit is not None:
                limits[name] = limit
    words = []
    if limits.get("allow_inf_nan") is False:
        words.append("that is finite")
    if "ge" in limits and "le" in limits:
        words.append(f"from {limits['ge']} to {limits['le']}")
    else:
        names = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}
        words.append(" and ".join(f"{word} {limits[name]}" for name, word in names.items() if name in limits))
    if "multiple_of" in limits:
        words.append(f"divisible by {limits['multiple_of']}")
    if counted and "min_length" in limits:
        words.append(f"of length at least {limits['min_length']}")
    if counted and "max_length" in limits:
        words.append(f"of length at most {limits['max_length']}")
    if "pattern" in limits:
        words.append(f"matching {limits['pattern']!r}")
    return "".join(f" {word}" for word in words if word)


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _flat(item.metadata)
        else:
            yield item


def _name(annotation: Any) -> str:
    return str(getattr(annotation, "__name__", annotation))


def value_at(data: Any, path: Iterable[str | int]) -> Any:
    """The value at a path of parsed TOML, or None if there is none."""
    for key in path:
        if isinstance(key, int):
            if not isinstance(data, list) or key >= len(data):
                return None
        elif not isinstance(data, Mapping) or key not in data:
            return None
        data = data[key]
    return data
