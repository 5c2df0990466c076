"""``--set`` texts, against the schema that decides what they mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.recipe.overrides import Override, apply_overrides, parse_override
from tests.recipe.toy import Toy


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dit.depth=12", 12),
        ("dit.depth = 12", 12),
        ("dit.depth=twelve", "twelve"),
        ("dit.depth=", ""),
        ("dit.causal=false", False),
        ("dit.causal=False", "False"),
        ("dit.patch_size=[1, 4, 4]", [1, 4, 4]),
        ("run.name=2024", "2024"),
        ("run.name=true", "true"),
        ("run.name=2024-01-01", "2024-01-01"),
        ('run.name="a b"', "a b"),
        ("run.name=a=b", "a=b"),
        ("run.name='it''s'", "'it''s'"),
        ("latents=a/b c", "a/b c"),
        ("flow.prediction=noise", "noise"),
        ('flow.prediction="noise"', "noise"),
        ("flow.shift=auto", "auto"),
        ("flow.shift=3", 3),
        ("dit.depth=1\nkind=2", "1\nkind=2"),
        ("sources=[{path='a'}]", [{"path": "a"}]),
        ("weights.a=3", 3),
        ("weights={a = 3}", {"a": 3}),
        ("nothing.known=3", 3),
    ],
)
def test_values(text: str, value: Any) -> None:
    (override,) = parse_override(Toy, text)
    assert override.value == value
    assert type(override.value) is type(value)


def test_a_whole_table_sets_its_keys_one_by_one() -> None:
    text = "run={name = 'x', schedule = {decay = 'constant'}}"
    assert parse_override(Toy, text) == [
        Override(("run", "name"), "x", text),
        Override(("run", "schedule", "decay"), "constant", text),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dit.depth", "no '=' found; write --set dit.depth=VALUE"),
        ("=3", "'' is no key; write it as in --set dit.depth=12"),
        ("dit..depth=3", "'dit..depth' is no key; write it as in --set dit.depth=12"),
        ("latents.x=3", "'latents' is a value, not a table"),
        ("dit.patch_size.0=3", "'dit.patch_size' is a value, not a table"),
        ("sources.path=3", "'sources' is a list of tables; set it whole: --set 'sources=[{ ... }]'"),
        ("run=3", "'run' is a table; set one of its keys: name, sizes, schedule"),
    ],
)
def test_what_cannot_be_meant(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_override(Toy, text)
    assert str(caught.value) == message


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_text_where_text_belongs(value: str) -> None:
    (override,) = parse_override(Toy, f"run.name={value}")
    assert isinstance(override.value, str)


@given(st.text(), st.text())
def test_any_argument_is_read_or_refused(key: str, value: str) -> None:
    try:
        parse_override(Toy, f"{key}={value}")
    except ValueError as error:
        assert str(error)


def test_the_last_one_wins_and_what_the_file_has_stays() -> None:
    data: dict[str, Any] = {"dit": {"depth": 1, "causal": True}}
    apply_overrides(data, [Override(("dit", "depth"), value, "") for value in (2, 3)])
    apply_overrides(data, [Override(("run", "schedule", "decay"), "constant", "")])
    assert data == {"dit": {"depth": 3, "causal": True}, "run": {"schedule": {"decay": "constant"}}}


def test_a_value_of_the_file_is_not_turned_into_a_table() -> None:
    data: dict[str, Any] = {"dit": 3}
    apply_overrides(data, [Override(("dit", "depth"), 1, "")])
    assert data == {"dit": 3}
