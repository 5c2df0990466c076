"""What a field accepts and what was probably meant, in exact words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt
from pydantic.fields import FieldInfo

from soracli.recipe.describe import choices, hint, shown, takes_only_text, valid_values, value_at
from soracli.recipe.section import Section
from tests.recipe.toy import Source


class Fields(Section):
    whole: int
    positive: PositiveInt
    ranged: Annotated[int, Field(ge=1, le=8)]
    half_open: float = Field(gt=0, lt=1)
    finite: float = Field(default=0.0, allow_inf_nan=False)
    even: int = Field(default=2, multiple_of=2, ge=0)
    flag: bool
    name: str = Field(min_length=1)
    code: str = Field(pattern="^[a-z]+$")
    folder: Path | None
    choice: Literal["a", "b"]
    only: Literal["a"]
    mixed: float | Literal["auto"]
    triple: tuple[int, int, int]
    pair: tuple[str, float]
    many: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=2)
    words: list[Literal["x", "y"]]
    table: Source
    tables: tuple[Source, ...]
    free: dict[str, float]


def field(name: str) -> FieldInfo:
    return Fields.model_fields[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("whole", "a whole number"),
        ("positive", "a whole number above 0"),
        ("ranged", "a whole number from 1 to 8"),
        ("half_open", "a number above 0 and below 1"),
        ("finite", "a number that is finite"),
        ("even", "a whole number of at least 0 divisible by 2"),
        ("flag", "true or false"),
        ("name", "text in quotes of length at least 1"),
        ("code", "text in quotes matching '^[a-z]+$'"),
        ("folder", "a path in quotes"),
        ("choice", 'one of "a", "b"'),
        ("only", '"a"'),
        ("mixed", 'a number or "auto"'),
        ("triple", "a list of 3 whole numbers"),
        ("pair", "a list of 2: text in quotes, a number"),
        ("many", "a list of numbers above 0 of length at least 2"),
        ("words", 'a list of "x", "y"'),
        ("table", "a table"),
        ("tables", "a list of tables"),
        ("free", "a table"),
    ],
)
def test_what_is_valid(name: str, words: str) -> None:
    assert valid_values(field(name)) == words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("choice", "A", '; did you mean "a"?'),
        ("mixed", "atuo", '; did you mean "auto"?'),
        ("mixed", "1.5", "; write 1.5"),
        ("whole", 12.0, "; write 12"),
        ("whole", 12.5, ""),
        ("whole", "12", "; write 12"),
        ("whole", "12.5", ""),
        ("whole", True, ""),
        ("half_open", "0.5", "; write 0.5"),
        ("flag", "True", "; write true"),
        ("flag", 0, "; write false"),
        ("flag", "maybe", ""),
        ("name", 2024, '; write "2024"'),
        ("name", True, ""),
        ("triple", [1], ""),
    ],
)
def test_what_was_meant(name: str, value: Any, words: str) -> None:
    assert hint(field(name), value) == words


def test_text_only() -> None:
    assert [name for name in Fields.model_fields if takes_only_text(field(name).annotation)] == [
        "name",
        "code",
        "folder",
        "choice",
        "only",
    ]


def test_choices_of_unions() -> None:
    assert choices(field("mixed").annotation) == ("auto",)
    assert choices(field("choice").annotation) == ("a", "b")
    assert choices(field("whole").annotation) == ()


def test_long_values_are_cut() -> None:
    assert shown("a") == '"a"'
    assert len(shown("a" * 1000)) == 60
    assert shown(list(range(100))).endswith("...")


def test_values_by_path() -> None:
    data = {"a": [{"b": 1}], "c": 2}
    assert value_at(data, ("a", 0, "b")) == 1
    assert value_at(data, ("a", 1)) is None
    assert value_at(data, ("c", "d")) is None
