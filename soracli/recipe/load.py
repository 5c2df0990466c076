"""Read a recipe: TOML and ``--set`` in, a frozen typed recipe and the origin of each value out.

Every problem of the file and the overrides is found in one go and told with its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Generic, TypeVar

import tomli
from pydantic import ValidationError

from soracli.core.errors import RecipeError, nearest
from soracli.recipe.describe import choices, shown
from soracli.recipe.keys import dotted, recipe_values
from soracli.recipe.lines import KeyPath, key_lines, key_positions
from soracli.recipe.overrides import Override, apply_overrides, parse_override
from soracli.recipe.problems import Origins, Problem, problems_of
from soracli.recipe.section import Section

R = TypeVar("R", bound=Section)

_LARGEST_INTEGER = 2**63
_SPELLING_ERROR = 0.8  # 'vae.trian' is 'vae.train' misspelt (0.89); 'dit.train' is another kind (0.67)


@dataclass(frozen=True)
class Loaded(Generic[R]):
    """A recipe and where it comes from.

    Attributes:
        recipe: The validated recipe.
        origins: For each value by its dotted key: ``default``, ``file.toml:12`` or ``--set``.
        source: The file, or None if there was none.
    """

    recipe: R
    origins: Mapping[str, str]
    source: Path | None


def load_recipe(recipe_class: type[R], source: Path | None, overrides: Sequence[str] = ()) -> Loaded[R]:
    """Read, check and type a recipe.

    Args:
        recipe_class: What to read, with a ``kind: Literal[...]`` field.
        source: A TOML file; None means the defaults alone.
        overrides: ``KEY=VALUE`` texts of ``--set``; a later one wins.

    Raises:
        RecipeError: With all problems of the file and the overrides, sorted by line.
    """
    text = _read_text(source) if source else ""
    data = _parse(text, str(source)) if source else {}
    if source:
        _check_kind(recipe_class, data, str(source))
    return _checked(recipe_class, source, text, data, overrides)


def load_section(section_class: type[R], source: Path, noun: str) -> Loaded[R]:
    """Read, check and type a TOML file that is no recipe, but is written and judged as one.

    Args:
        section_class: What to read.
        source: A TOML file.
        noun: What the file is, for the errors.

    Raises:
        RecipeError: With all problems of the file, sorted by line.
    """
    text = _read_text(source, noun)
    return _checked(section_class, source, text, _parse(text, str(source)), ())


def _checked(
    recipe_class: type[R], source: Path | None, text: str, data: dict[str, Any], overrides: Sequence[str]
) -> Loaded[R]:
    given, problems = _read_overrides(recipe_class, overrides)
    apply_overrides(data, given)
    origins = Origins(
        label=str(source) if source else "recipe",
        lines=key_lines(text),
        overrides={override.path: (overrides.index(override.text), override.text) for override in given},
    )
    plain, unfit = _plain(data, (), origins)
    problems += unfit
    try:
        # JSON mode because strict Python mode would refuse a list for a tuple and a string for a path.
        recipe = recipe_class.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        refused = {problem.order for problem in unfit}
        problems += [
            problem for problem in problems_of(error, recipe_class, data, origins) if problem.order not in refused
        ]
    if problems:
        raise RecipeError([problem.text for problem in sorted(set(problems))])
    return Loaded(recipe, {dotted(path): origins.of(path) for path, _ in recipe_values(recipe)}, source)


def recipe_kind(source: Path, kinds: Iterable[str]) -> str:
    """The ``kind`` that a recipe file names.

    Args:
        source: A TOML file.
        kinds: The kinds there are.

    Raises:
        RecipeError: If the file cannot be read or names no kind of these.
    """
    text, known = _read_text(source), sorted(kinds)
    data = _parse(text, str(source))
    origins = Origins(str(source), key_lines(text))
    if "kind" not in data:
        raise RecipeError([f"{source}: missing key 'kind'; begin the file with one of {_listed(known)}"])
    kind = data["kind"]
    if kind not in known:
        near = nearest(kind, known) if isinstance(kind, str) else None
        end = f"; did you mean {shown(near)}?" if near else ""
        raise RecipeError(
            [origins.problem(("kind",), f"'kind' must be one of {_listed(known)}, got {shown(kind)}{end}").text]
        )
    return str(kind)


def _read_text(source: Path, noun: str = "recipe") -> str:
    try:
        return source.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError([f"{source}: not UTF-8 text (byte {error.start})"]) from error
    except FileNotFoundError as error:
        names = "; sora recipe list shows the names there are" if noun == "recipe" else ""
        raise RecipeError([f"{source}: no such {noun} file{names}"]) from error
    except IsADirectoryError as error:
        raise RecipeError([f"{source}: is a folder, not a {noun} file"]) from error


def _parse(text: str, label: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise RecipeError([_syntax_problem(text, label, error)]) from error
    except RecursionError as error:
        raise RecipeError([f"{label}: values are nested too deeply"]) from error
    except ValueError as error:  # Python refuses to read numbers of thousands of digits
        raise RecipeError([f"{label}: a number is too long"]) from error


def _syntax_problem(text: str, label: str, error: tomli.TOMLDecodeError) -> str:
    first_lines: dict[KeyPath, int] = {}
    for path, line in key_positions(text):
        if path in first_lines and line >= error.lineno:
            return f"{label}:{line}: '{dotted(path)}' is given twice; it is already on line {first_lines[path]}"
        first_lines.setdefault(path, line)
    message = error.msg[:1].lower() + error.msg[1:]
    if message == "invalid value":
        message += "; text goes in quotes, true and false are in small letters"
    return f"{label}:{error.lineno}: not valid TOML at column {error.colno}: {message}"


def _check_kind(recipe_class: type[Section], data: Mapping[str, Any], label: str) -> None:
    """Refuse a file made for another command before judging its keys."""
    own = choices(recipe_class.model_fields["kind"].annotation)[0]
    if "kind" not in data:
        raise RecipeError([f"{label}: missing key 'kind'; begin the file with: kind = \"{own}\""])
    kind = data["kind"]
    if isinstance(kind, str) and SequenceMatcher(None, kind, own).ratio() < _SPELLING_ERROR:
        command = kind.replace(".", " ")
        raise RecipeError([f"{label} is a {kind!r} recipe; run: sora {command} {label}"])


def _read_overrides(recipe_class: type[Section], texts: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    given: list[Override] = []
    problems: list[Problem] = []
    for number, text in enumerate(texts):
        try:
            given += parse_override(recipe_class, text)
        except ValueError as error:
            problems.append(Problem((2, number), f"--set {text}: {error}"))
    return given, problems


def _plain(value: Any, path: KeyPath, origins: Origins) -> tuple[Any, list[Problem]]:
    """The value as JSON can hold it, and a problem for each part that a recipe cannot hold at all."""
    problems: list[Problem] = []
    if isinstance(value, dict):
        table = {}
        for key, item in value.items():
            table[key], below = _plain(item, (*path, key), origins)
            problems += below
        return table, problems
    if isinstance(value, list):
        items = []
        for index, item in enumerate(value):
            plain, below = _plain(item, (*path, index), origins)
            items.append(plain)
            problems += below
        return items, problems
    if isinstance(value, datetime | date | time):
        text = f"'{dotted(path)}' is a date or time, which no recipe holds; for text write \"{value.isoformat()}\""
        return value.isoformat(), [origins.problem(path, text)]
    if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
        return 0, [origins.problem(path, f"'{dotted(path)}' is a number beyond 64 bits")]
    return value, problems


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(shown, words))
