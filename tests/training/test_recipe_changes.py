"""Comparing recipes: differences by dotted key; allowed ones are told, others refused with both values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import RecipeError
from soracli.training.config import HARMLESS_CHANGES
from soracli.training.recipe_changes import Change, check_recipe_unchanged, recipe_changes, with_defaults

OLD = {"kind": "dit.train", "loop": {"steps": 10, "seed": 0}, "dit": {"depth": 4, "patch": [1, 2, 2]}}


def test_allowed_changes_are_told():
    new = {**OLD, "loop": {"steps": 20, "seed": 0}}
    assert check_recipe_unchanged(OLD, new, HARMLESS_CHANGES, "runs/a") == ["loop.steps is now 20 (was 10)"]


@pytest.mark.row(23)
def test_others_are_refused_by_key_with_both_values():
    new = {"kind": "dit.train", "loop": {"steps": 20, "seed": 1}, "dit": {"depth": 4, "patch": [1, 1, 1], "qk": True}}
    with pytest.raises(RecipeError) as caught:
        check_recipe_unchanged(OLD, new, HARMLESS_CHANGES, "runs/a")
    ways = "set it back, choose another --out, or begin a new run with its last checkpoint by --fork NEWRUN"
    assert caught.value.problems == (
        f"runs/a began with dit.patch = [1, 2, 2], now [1, 1, 1]: {ways}",
        f"runs/a began with dit.qk = absent, now true: {ways}",
        f"runs/a began with loop.seed = 0, now 1: {ways}",
    )


def test_types_count_but_tuples_are_lists():
    assert recipe_changes({"a": (1, 2)}, {"a": [1, 2]}) == []
    assert recipe_changes({"a": True}, {"a": 1}) == [Change("a", "true", "1")]
    assert recipe_changes({"a": {}}, {}) == [Change("a", "{}", "absent")]


def test_a_key_that_is_newer_than_the_run_was_at_its_default():
    defaults = {"loop": {"steps": 1, "seed": 7, "new": 0}, "more": {"rank": 0}, "lists": [1]}
    filled = with_defaults(OLD, defaults)
    assert filled == {**OLD, "loop": {"steps": 10, "seed": 0, "new": 0}, "more": {"rank": 0}, "lists": [1]}
    assert "new" not in OLD["loop"] and with_defaults(filled, defaults) == filled


values = st.recursive(
    st.integers() | st.booleans() | st.text("xy", max_size=3),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
)
tables = st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=4)


@given(tables, tables)
def test_no_change_exactly_when_equal(old, new):
    assert (recipe_changes(old, new) == []) == (json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True))
