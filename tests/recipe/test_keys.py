"""Dotted names and the way through a recipe class, against a class written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.recipe.keys import (
    class_keys,
    dotted,
    item_section_of,
    locate,
    recipe_values,
    section_of,
    split_key,
    table_at,
    without_none,
)
from tests.recipe.toy import Model, Run, Schedule, Source, Toy


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_a_dotted_name_splits_into_the_same_keys(keys: list[str]) -> None:
    name = dotted(tuple(keys))
    if "=" not in name:
        assert split_key(name) == tuple(keys)


def test_items_of_lists_are_numbered() -> None:
    assert dotted(("sources", 1, "path")) == "sources[1].path"
    assert dotted(("tags", "a b")) == 'tags."a b"'


@pytest.mark.parametrize("name", ["", "a..b", "a b", "a\nb", "a=1", ".a", "a[0]", "a = 1\nb"])
def test_what_is_no_key_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no key"):
        split_key(name)


def test_annotations() -> None:
    assert without_none(Annotated[int | None, "x"]) is int
    assert section_of(Model | None) is Model
    assert section_of(int) is None
    assert item_section_of(tuple[Source, ...]) is Source
    assert item_section_of(list[Source]) is Source
    assert item_section_of(tuple[int, ...]) is None
    assert item_section_of(Model) is None


def test_paths_are_followed_as_far_as_they_go() -> None:
    place = locate(Toy, ("run", "schedule", "decay"))
    assert (place.section, place.rest) == (Schedule, ())
    assert place.field is Schedule.model_fields["decay"]
    assert locate(Toy, ("sources", 3, "path")).section is Source
    assert locate(Toy, ("dit", "dpeth", "x")).field is None
    assert locate(Toy, ("dit", "dpeth", "x")).path == ("dit", "dpeth")
    assert locate(Toy, ("dit", "patch_size", 1)).rest == (1,)
    assert locate(Toy, ("sources", "path")).rest == ("path",)


def test_tables() -> None:
    assert table_at(Toy, ()) is Toy
    assert table_at(Toy, ("run",)) is Run
    assert table_at(Toy, ("sources", 0)) is Source
    assert table_at(Toy, ("latents",)) is None
    assert table_at(Toy, ("latents", "x")) is None
    assert table_at(Toy, ("nothing",)) is None


def test_keys_and_values_of_a_whole_recipe() -> None:
    keys = list(class_keys(Toy))
    assert ("run", "schedule", "decay") in keys
    assert ("sources", "weight") in keys
    values = dict(recipe_values(Toy(sources=(Source(path=Path("a")),))))
    assert values["sources", 0, "weight"] == 1.0
    assert values["dit", "patch_size"] == (1, 2, 2)
    assert ("limit",) not in values, "TOML has no null"
    assert ("dit",) not in values
