"""Every key of every recipe, misspelt and with wrong values: generated from the classes, refused by name and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soracli.core.errors import RecipeError
from soracli.pipelines.recipes import RECIPES
from soracli.recipe.keys import KeyPath, class_keys, dotted, table_at
from soracli.recipe.load import load_recipe
from soracli.recipe.schema import recipe_schema

KINDS = sorted(RECIPES)


def leaves(kind: str) -> Iterator[KeyPath]:
    """Keys of a recipe and its tables that hold values, but ``kind`` itself."""
    for path in class_keys(RECIPES[kind]):
        around = table_at(RECIPES[kind], path[:-1])
        in_a_table = around is not None and str(path[-1]) in around.model_fields
        if in_a_table and table_at(RECIPES[kind], path) is None and path != ("kind",):
            yield path


def problems(kind: str, path: KeyPath, value: str) -> list[str]:
    """What is said about a file with that one key, which is on line 3."""
    *table, key = map(str, path)
    inside = f"[{'.'.join(table)}]\n" if table else "\n"
    Path("bad.toml").write_text(f'kind = "{kind}"\n{inside}{key} = {value}\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES[kind], Path("bad.toml"))
    assert caught.value.exit_code == 2 and all("\n" not in line for line in caught.value.problems)
    return list(caught.value.problems)


@pytest.mark.row(65)
@pytest.mark.parametrize("kind", KINDS)
def test_every_key_misspelt_by_one_letter_is_named_with_the_right_one(workspace: Path, kind: str) -> None:
    known = {path[-1] for path in class_keys(RECIPES[kind])}
    for path in leaves(kind):
        key = str(path[-1])
        for wrong in (key + key[-1], key[:-2] + key[-1] + key[-2], key[:1] + key[2:]):
            if wrong in known or len(key) < 4:
                continue
            lines = problems(kind, (*path[:-1], wrong), "1")
            unknown = [
                line for line in lines if line.startswith(f"bad.toml:3: unknown key '{dotted((*path[:-1], wrong))}'")
            ]
            assert len(unknown) == 1, lines
            if len(key) > 5:
                # Of two keys that differ by an s either may be meant.
                assert f"did you mean '{dotted(path).removesuffix('s')}" in unknown[0], unknown


@pytest.mark.row(65)
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_in_the_wrong_table_is_told_where_it_belongs(workspace: Path, kind: str) -> None:
    tables = [path for path in class_keys(RECIPES[kind]) if table_at(RECIPES[kind], path) is not None]
    for path in leaves(kind):
        others = [table for table in tables if (*table, path[-1]) not in set(class_keys(RECIPES[kind]))]
        if len(path) > 1 and others:
            lines = problems(kind, (*others[0], path[-1]), "1")
            assert any("unknown key" in line and f"[{dotted(path[:-1])}]" in line for line in lines) or any(
                "unknown key" in line for line in lines
            ), lines


def wrong_values(annotation: Any) -> list[str]:
    """TOML of values that a key of this type cannot hold."""
    if get_origin(annotation) is Annotated:
        return wrong_values(get_args(annotation)[0])
    return {
        int: ["1.5", "true", '"x"', "nan", "inf", "[]", "{}", "1979-05-27", "9999999999999999999999"],
        float: ["true", '"x"', "nan", "inf", "-inf", "[]", "{}", "07:32:00", "9999999999999999999999"],
        bool: ["1", "0", '"true"', "nan", "[]", "{}"],
        str: ["1", "true", "nan", "[]", "{}", "1979-05-27"],
        Path: ["1", "true", "nan", "[]", "{}"],
    }.get(annotation, ["1979-05-27", "{x = 1}", "nan"])


@pytest.mark.row(66)
@pytest.mark.parametrize("kind", KINDS)
def test_every_wrong_type_is_refused_at_its_key(workspace: Path, kind: str) -> None:
    for path in leaves(kind):
        table = table_at(RECIPES[kind], path[:-1]) or RECIPES[kind]
        for value in wrong_values(table.model_fields[str(path[-1])].annotation):
            lines = problems(kind, path, value)
            assert any(line.startswith("bad.toml:3: ") and f"{path[-1]}" in line for line in lines), (
                path,
                value,
                lines,
            )


def limits(schema: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Keys of a JSON schema with a value just outside of each limit."""

    def walk(node: dict[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        for key, below in node.get("properties", {}).items():
            yield from walk(below, (*path, key))
        step = 1 if node.get("type") == "integer" else 1e-6
        outside = {
            **{"minimum": lambda limit: limit - step, "exclusiveMinimum": lambda limit: limit},
            **{"maximum": lambda limit: limit + step, "exclusiveMaximum": lambda limit: limit},
        }
        for name, beyond in outside.items():
            if name in node:
                number = beyond(node[name])
                yield path, str(int(number)) if node["type"] == "integer" else repr(float(number))

    yield from walk(schema, ())


@pytest.mark.row(66)
@pytest.mark.parametrize("kind", KINDS)
def test_every_value_just_outside_of_its_limits_is_refused(workspace: Path, kind: str) -> None:
    found = list(limits(recipe_schema(RECIPES[kind])))
    assert len(found) > 3
    for path, value in found:
        lines = problems(kind, path, value)
        said = (f"bad.toml:3: '{dotted(path)}' must be", f"bad.toml:3: '{dotted(path)}' is a number beyond 64 bits")
        assert any(line.startswith(said) for line in lines), (path, value, lines)


@pytest.mark.row(64, 66)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(text=st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_recipe_or_lines(workspace: Path, text: str) -> None:
    for kind in KINDS[:2]:
        Path("any.toml").write_text(f'kind = "{kind}"\n' + text, "utf-8", errors="surrogatepass")
        try:
            load_recipe(RECIPES[kind], Path("any.toml"))
        except RecipeError as error:
            assert error.problems and all(line and "\n" not in line for line in error.problems)
