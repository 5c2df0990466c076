"""Where each key of a TOML text stands: the positions that ``tomli`` does not give.

Only for text that ``tomli`` has read, or for finding what a refused text says twice: this walks over values without
judging them, and stops silently where the text is no TOML.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Generator, Iterator

import tomli

KeyPath = tuple[str | int, ...]
"""Keys from the top of a recipe downward; a number is a place in a list."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


class _NotToml(Exception):
    """The text is no TOML from here on."""


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every key, table and list item of ``text``.

    A table that is only implied, such as ``a`` of ``[a.b]``, stands where it is first implied.
    """
    lines: dict[KeyPath, int] = {}
    found = list(key_positions(text))
    for path, line in found:
        lines.setdefault(path, line)
    for path, line in found:
        for length in range(1, len(path)):
            lines.setdefault(path[:length], line)
    return lines


def key_positions(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Every key as it is written, with its line, in the order of the text; a key given twice comes twice."""
    text = text.replace("\r\n", "\n")
    breaks = [match.start() for match in re.finditer("\n", text)]
    try:
        for path, position in _document(text):
            yield path, bisect_left(breaks, position) + 1
    except _NotToml:
        return


def _document(text: str) -> Iterator[tuple[KeyPath, int]]:
    table: KeyPath = ()
    list_sizes: dict[KeyPath, int] = {}
    position = _skip_blank(text, 0)
    while position < len(text):
        start = position
        if text[position] == "[":
            is_list = text.startswith("[[", position)
            keys, position = _key(text, _skip_blank(text, position + 1 + is_list))
            table = _current((), keys[:-1], list_sizes) + keys[-1:]
            if is_list:
                list_sizes[table] = list_sizes.get(table, 0) + 1
                table = (*table, list_sizes[table] - 1)
            position = _expect(text, position, "]]" if is_list else "]")
            yield table, start
        else:
            keys, position = _key(text, position)
            path = table + keys
            yield path, start
            position = yield from _value(text, _expect(text, position, "="), path)
        position = _skip_blank(text, position)


def _current(table: KeyPath, keys: KeyPath, list_sizes: dict[KeyPath, int]) -> KeyPath:
    """The path of ``keys``, going into the last item of each list of tables."""
    for key in keys:
        table = (*table, key)
        if table in list_sizes:
            table = (*table, list_sizes[table] - 1)
    return table


def _value(text: str, position: int, path: KeyPath) -> Generator[tuple[KeyPath, int], None, int]:
    """Walk over one value, giving what lies inside it; the generator's result is the position after it."""
    position = _skip_blank(text, position)
    opening = text[position : position + 1]
    if opening in ("'", '"'):
        return _string_end(text, position)
    if opening == "[":
        index = 0
        position = _skip_blank(text, position + 1)
        while not text.startswith("]", position):
            yield (*path, index), position
            position = yield from _value(text, position, (*path, index))
            position = _comma(text, position, "]")
            index += 1
        return position + 1
    if opening == "{":
        position = _skip_blank(text, position + 1)
        while not text.startswith("}", position):
            start = position
            keys, position = _key(text, position)
            yield path + keys, start
            position = yield from _value(text, _expect(text, position, "="), path + keys)
            position = _comma(text, position, "}")
        return position + 1
    match = _SCALAR.match(text, position)
    if match is None or match.end() == position:
        raise _NotToml
    return match.end()


def _key(text: str, position: int) -> tuple[KeyPath, int]:
    keys: list[str] = []
    while True:
        if text[position : position + 1] in ("'", '"'):
            end = _string_end(text, position)
            try:
                keys.append(tomli.loads(f"key = {text[position:end]}")["key"])
            except tomli.TOMLDecodeError as error:
                raise _NotToml from error
            position = end
        elif match := _BARE_KEY.match(text, position):
            keys.append(match[0])
            position = match.end()
        else:
            raise _NotToml
        after = _skip_blank(text, position)
        if not text.startswith(".", after):
            return tuple(keys), position
        position = _skip_blank(text, after + 1)


def _string_end(text: str, position: int) -> int:
    match = _STRING.match(text, position)
    if match is None:
        raise _NotToml
    return match.end()


def _skip_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _expect(text: str, position: int, mark: str) -> int:
    position = _skip_blank(text, position)
    if not text.startswith(mark, position):
        raise _NotToml
    return position + len(mark)


def _comma(text: str, position: int, closing: str) -> int:
    """Past a comma between items; stays in front of the ``closing`` mark."""
    position = _skip_blank(text, position)
    if text.startswith(closing, position):
        return position
    return _skip_blank(text, _expect(text, position, ","))
