"""Values and keys as TOML, against what tomli reads back."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from soracli.recipe.toml_text import toml_key, toml_string, toml_value
from tests.recipe.toy import Source

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)


@given(VALUES)
def test_a_value_is_read_back_the_same(value: object) -> None:
    written = toml_value(value)
    read = tomli.loads(f"x = {written}")["x"]
    assert read == value
    assert type(read) is type(value)


@given(TEXT)
def test_text_and_keys_stay_on_one_line(text: str) -> None:
    assert len(toml_string(text).splitlines()) == 1
    assert tomli.loads(f"{toml_key(text)} = 1") == {text: 1}


@pytest.mark.parametrize(("value", "written"), [(math.inf, "inf"), (-math.inf, "-inf"), (1e-05, "1e-05"), (3.0, "3.0")])
def test_floats(value: float, written: str) -> None:
    assert toml_value(value) == written


def test_not_a_number() -> None:
    assert math.isnan(tomli.loads(f"x = {toml_value(math.nan)}")["x"])


def test_paths_dates_and_sections() -> None:
    assert toml_value((Path("a/b"), date(2024, 1, 2))) == '["a/b", 2024-01-02]'
    assert toml_value(Source(path=Path("a"))) == '{ path = "a", weight = 1.0 }'


def test_what_toml_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError, match="complex has no form in TOML"):
        toml_value(1j)
