"""How ``fuzz_inputs.py`` spoils a file: bytes, JSON and TOML, all drawn from a generator."""

from __future__ import annotations

import copy
import json
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

NASTY: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 2**200, 1e308, -0.0, 0.5, float("inf"), float("nan")),
    *("", "\0", "\ud800", "‮😀", "x" * 100_000, "../x", "/etc/passwd", "http://127.0.0.1:9/a.mp4", "-i"),
    *([], {}, [[]], [0, 0, 0, 0], [-1], {"a": {"b": []}}, [1e999], ["a", "a"], [2**40] * 4),
)
"""Values that no writer would have meant."""

_NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\x40\0", b"\x80\0\0\0", b"\0\x01", b"\xff\xff")
_DEEP = ("[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, "9" * 5000, "1e999", "-1e999", "NaN")
_WORDS = ("1e999", "nan", "-inf", "true", '"\\u0000"', "[]", "{}", "''", "9" * 30, "9" * 5000, "1979-05-27", "-1", "0")


def spoil_bytes(content: bytes, generator: random.Random, other: bytes = b"") -> bytes:
    """Some of the bytes changed, lost, doubled, cut off or taken from another file.

    Args:
        content: What to spoil.
        generator: Decides everything.
        other: Where pieces of something else are taken from.
    """
    spoilt = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 3, 8))):
        if not spoilt:
            break
        place, length = _place(len(spoilt), generator), generator.choice((1, 2, 4, 8, 64, 512))
        kind = generator.randrange(8)
        if kind == 0:
            spoilt[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            spoilt[place : place + length] = generator.randbytes(length)
        elif kind == 2:
            number = generator.choice(_NUMBERS)
            number = number[::-1] if generator.random() < 0.5 else number
            spoilt[place : place + len(number)] = number
        elif kind == 3:
            del spoilt[place : place + length]
        elif kind == 4:
            spoilt[place:place] = spoilt[place : place + length]
        elif kind == 5:
            spoilt[place:place] = generator.randbytes(length)
        elif kind == 6 and generator.random() < 0.4:
            del spoilt[place:]
        elif other:
            start = generator.randrange(len(other))
            spoilt[place : place + length] = other[start : start + length]
    return bytes(spoilt)


def _place(size: int, generator: random.Random) -> int:
    """Anywhere, but mostly where a header or an index lies."""
    near = min(size, 600)
    where = generator.random()
    if where < 0.4:
        return generator.randrange(near)
    if where < 0.6:
        return size - 1 - generator.randrange(near)
    return generator.randrange(size)


def repair_png(content: bytes) -> bytes:
    """The check sums of a PNG made right again, so that a reader looks at what is behind them."""
    spoilt, place = bytearray(content), 8
    while place + 12 <= len(spoilt):
        (length,) = struct.unpack_from(">I", spoilt, place)
        end = place + 8 + length
        if end + 4 > len(spoilt):
            break
        struct.pack_into(">I", spoilt, end, zlib.crc32(spoilt[place + 4 : end]))
        place = end + 4
    return bytes(spoilt)


def spoil_json(value: Any, generator: random.Random) -> str:
    """The text of a JSON value with one to three of its parts replaced, removed, renamed or added to."""
    value = json.loads(json.dumps(value))
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        value = _spoil_part(value, generator)
    text = json.dumps(value)
    if generator.random() < 0.08:  # what Python cannot write
        places = [place for place in range(len(text)) if text[place] in "0123456789"] or [0]
        place = generator.choice(places)
        text = text[:place] + generator.choice(_DEEP) + text[place + 1 :]
    return text


def _spoil_part(value: Any, generator: random.Random) -> Any:
    if isinstance(value, dict | list) and value and generator.random() < 0.85:
        key = generator.choice(list(value) if isinstance(value, dict) else range(len(value)))
        kind = generator.random()
        if kind < 0.7:
            value[key] = _spoil_part(value[key], generator)
        elif kind < 0.8:
            del value[key]
        elif kind < 0.9 and isinstance(value, dict):
            value[f"{key}_"] = value.pop(key)
        elif isinstance(value, dict):
            value[str(generator.choice(NASTY))[:50]] = _one_of(NASTY, generator)
        else:
            value.append(_one_of([*NASTY, value[key]], generator))
        return value
    return _one_of(NASTY, generator)


def _one_of(values: Sequence[Any], generator: random.Random) -> Any:
    """A copy: what is spoilt further must not change what other inputs are spoilt with."""
    return copy.deepcopy(generator.choice(values))


def spoil_toml(text: str, generator: random.Random) -> bytes:
    """A TOML file with values, keys, tables or characters of some lines spoilt."""
    lines = text.split("\n")
    for _ in range(generator.choice((1, 1, 2, 4))):
        number = generator.randrange(len(lines))
        line, kind = lines[number], generator.randrange(7)
        key, equals, _ = line.partition("=")
        if kind <= 1 and equals:
            lines[number] = f"{key}= {generator.choice(_WORDS)}"
        elif kind == 2 and line:
            place = generator.randrange(len(line))
            lines[number] = line[:place] + generator.choice("\"'[]{}=.#,\0\n\\ é") + line[place + 1 :]
        elif kind == 3 and line:
            place = generator.randrange(len(line))
            lines[number] = line[:place] + line[place + 1 :]
        elif kind == 4:
            lines.insert(number, line)
        elif kind == 5:
            lines[number] = generator.choice(
                ("[a.b]", "[[a]]", "x = " + "[" * 400, 'a = """', "[[samples]]", "a.b.c = 1")
            )
        else:
            lines.pop(number)
            lines = lines or [""]
    content = "\n".join(lines).encode()
    return spoil_bytes(content, generator) if generator.random() < 0.2 else content


def spoil_header(content: bytes, generator: random.Random) -> bytes:
    """A safetensors file with its header, or the length of it, spoilt; what follows stays."""
    (length,) = struct.unpack_from("<Q", content)
    if generator.random() < 0.25:
        wrong = generator.choice(
            (0, 1, 2**62, 2**64 - 1, 100_000_001, length - 1, length + 1, len(content), len(content) - 8)
        )
        return struct.pack("<Q", max(0, wrong)) + content[8:]
    if generator.random() < 0.3:
        return content[:8] + spoil_bytes(content[8 : 8 + length], generator) + content[8 + length :]
    text = spoil_json(json.loads(content[8 : 8 + length]), generator)
    if generator.random() < 0.2:  # a name that comes twice
        text = text[:-1] + ", " + text[1:]
    header = text.encode("utf-8", "surrogatepass")
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]
