"""Loading, against recipes built in Python, and every refusal of a file as a whole against its exact words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import RecipeError
from soracli.recipe.load import load_recipe, recipe_kind
from tests.recipe.toy import Flow, Model, Run, Schedule, Source, Toy, VaeToy

GOOD = """\
# A toy.
kind = "dit.train"
latents = "somewhere"
[dit]
depth = 3
mlp_ratio = 2
[run]
schedule.decay = "constant"
[[sources]]
path = "a"
[[sources]]
path = "b"
weight = 0.5
"""


def refusal(text: str, *overrides: str, recipe_class: type = Toy) -> list[str]:
    Path("bad.toml").write_text(text, "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_class, Path("bad.toml"), overrides)
    return list(caught.value.problems)


def test_a_file_with_overrides(workspace: Path) -> None:
    source = Path("good.toml")
    source.write_text(GOOD)
    loaded = load_recipe(Toy, source, ["dit.depth=5", "dit.depth=7", "flow.prediction=noise", "weights.a=1"])
    assert loaded.recipe == Toy(
        latents=Path("somewhere"),
        dit=Model(depth=7, mlp_ratio=2.0),
        flow=Flow(prediction="noise"),
        run=Run(schedule=Schedule(decay="constant")),
        sources=(Source(path=Path("a")), Source(path=Path("b"), weight=0.5)),
        weights={"a": 1.0},
    )
    assert isinstance(loaded.recipe.dit.mlp_ratio, float)
    assert loaded.source == source
    assert loaded.origins["kind"] == "good.toml:2"
    assert loaded.origins["dit.depth"] == "--set"
    assert loaded.origins["dit.mlp_ratio"] == "good.toml:6"
    assert loaded.origins["dit.num_heads"] == "default"
    assert loaded.origins["run.schedule.decay"] == "good.toml:8"
    assert loaded.origins["sources[0].path"] == "good.toml:10"
    assert loaded.origins["sources[0].weight"] == "default"
    assert loaded.origins["sources[1].weight"] == "good.toml:13"
    assert loaded.origins["weights"] == "--set"


def test_no_file_means_the_defaults() -> None:
    loaded = load_recipe(Toy, None)
    assert loaded.recipe == Toy()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.source is None


def test_a_list_given_whole_has_one_origin() -> None:
    loaded = load_recipe(Toy, None, ["sources=[{path = 'x'}]"])
    assert loaded.origins["sources[0].weight"] == "--set"


def test_an_override_mends_a_file(workspace: Path) -> None:
    Path("x.toml").write_text('kind = "dit.train"\n[dit]\ndepth = "x"\n')
    assert load_recipe(Toy, Path("x.toml"), ["dit.depth=4"]).recipe.dit.depth == 4


@pytest.mark.row(64)
@pytest.mark.parametrize("text", ['﻿kind = "dit.train"\nlatents = "ü"\n', 'kind = "dit.train"\r\nlatents = "ü"\r\n'])
def test_files_of_windows(workspace: Path, text: str) -> None:
    Path("x.toml").write_bytes(text.encode())
    loaded = load_recipe(Toy, Path("x.toml"))
    assert (str(loaded.recipe.latents), loaded.origins["latents"]) == ("ü", "x.toml:2")


def test_another_kind_names_its_command(workspace: Path) -> None:
    assert refusal('steps = "x"\nkind = "vae.train"\n') == [
        "bad.toml is a 'vae.train' recipe; run: sora vae train bad.toml"
    ]


def test_a_misspelt_kind_is_no_other_kind(workspace: Path) -> None:
    assert refusal('kind = "dit.trian"\n') == [
        'bad.toml:1: \'kind\' must be "dit.train", got "dit.trian"; did you mean "dit.train"?'
    ]


def test_a_missing_kind(workspace: Path) -> None:
    assert refusal("[dit]\ndepth = 1\n") == ["bad.toml: missing key 'kind'; begin the file with: kind = \"dit.train\""]


def test_a_kind_cannot_be_set_to_another() -> None:
    with pytest.raises(RecipeError, match=r"^--set kind=vae\.train: 'kind' must be"):
        load_recipe(Toy, None, ["kind=vae.train"])


@pytest.mark.row(64)
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            'kind = "x"\n[dit]\ndepth = 1\ndepth = 2\n',
            "bad.toml:4: 'dit.depth' is given twice; it is already on line 3",
        ),
        ('kind = "x"\n[dit]\n[run]\n[dit]\n', "bad.toml:4: 'dit' is given twice; it is already on line 2"),
        ("a = {b = 1,\nb = 2}\n", "bad.toml:2: 'a.b' is given twice; it is already on line 1"),
        (
            "kind = vae\n",
            "bad.toml:1: not valid TOML at column 8: invalid value; "
            "text goes in quotes, true and false are in small letters",
        ),
        ("a = [1,\n", "bad.toml:2: not valid TOML at column 1: invalid value"),
        ("[dit\n", "bad.toml:1: not valid TOML at column 5: expected ']' at the end of a table declaration"),
        ("x = " + "[" * 5000, "bad.toml: values are nested too deeply"),
        ("x = " + "1" * 5000, "bad.toml: a number is too long"),
    ],
)
def test_what_is_no_toml(workspace: Path, text: str, line: str) -> None:
    (problem,) = refusal(text)
    assert problem.startswith(line)


@pytest.mark.row(64)
def test_files_that_cannot_be_read(workspace: Path) -> None:
    Path("bad.toml").write_bytes(b"kind = '\xff'")
    for source, end in (("bad.toml", "not UTF-8 text (byte 8)"), ("none.toml", "no such recipe file"), (".", "folder")):
        with pytest.raises(RecipeError, match=f"^{source}: .*".replace(".toml", r"\.toml")) as caught:
            load_recipe(Toy, Path(source))
        assert end in str(caught.value)


def test_the_kind_of_a_file(workspace: Path) -> None:
    kinds = {"dit.train", "vae.train"}
    source = Path("x.toml")
    source.write_text(GOOD)
    assert recipe_kind(source, kinds) == "dit.train"
    for text, message in (
        ("", 'x.toml: missing key \'kind\'; begin the file with one of "dit.train", "vae.train"'),
        (
            "\nkind = 'vae.trian'",
            'x.toml:2: \'kind\' must be one of "dit.train", "vae.train", got "vae.trian"; did you mean "vae.train"?',
        ),
        ("kind = 3", 'x.toml:1: \'kind\' must be one of "dit.train", "vae.train", got 3'),
        ("kind = [3]", 'x.toml:1: \'kind\' must be one of "dit.train", "vae.train", got [3]'),
    ):
        source.write_text(text)
        with pytest.raises(RecipeError) as caught:
            recipe_kind(source, kinds)
        assert caught.value.problems == (message,)


LINES = st.sampled_from(
    [
        "[dit]",
        "[run]",
        "[run.schedule]",
        "[[sources]]",
        "[sources]",
        "depth = 3",
        "depth = true",
        "name = 2024-01-01T00:00:00",
        "latents = {a = [1, {b = 2}]}",
        "sources = [1, {path = 3}]",
        "weights.a = 'x'",
        "weights = {a = {b = 1}}",
        "x.y.z = nan",
        "hidden_size = 0x7fffffffffffffffffffffff",
        "num_heads = 5",
        "patch_size = [[1, 2], 2, 2.0]",
        "'a b' = ''",
        "schedule = 3",
        "dit = 3",
        "run = []",
        "shift = 'x'",
        "[flow]",
    ]
)


@given(
    st.lists(LINES, max_size=8),
    st.lists(st.sampled_from(["dit=3", "dit.depth=x", "a.b=1", "dit.depth.x=1"]), max_size=2),
)
def test_whatever_a_file_says_it_is_loaded_or_refused_in_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], overrides: list[str]
) -> None:
    source = tmp_path_factory.getbasetemp() / "any.toml"
    source.write_text("\n".join(['kind = "dit.train"', *lines]))
    try:
        load_recipe(Toy, source, overrides)
    except RecipeError as error:
        assert error.problems
        assert all(problem.startswith((str(source), "--set ")) and "\n" not in problem for problem in error.problems)


def test_a_small_recipe_of_another_class(workspace: Path) -> None:
    assert refusal('kind = "dit.train"\n', recipe_class=VaeToy) == [
        "bad.toml is a 'dit.train' recipe; run: sora dit train bad.toml"
    ]
