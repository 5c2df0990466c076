"""Written recipes, against what is loaded from them again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.recipe.load import load_recipe
from soracli.recipe.write import recipe_text, write_recipe
from tests.recipe.toy import Flow, Model, Optimiser, Run, Schedule, Source, Toy

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"))
FLOATS = st.floats(allow_nan=False)
PATHS = TEXT.filter(lambda text: "\0" not in text).map(Path)

RECIPES = st.builds(
    Toy,
    latents=PATHS,
    limit=st.none() | FLOATS,
    dit=st.builds(
        Model,
        depth=st.integers(1, 100),
        num_heads=st.sampled_from([1, 2, 3]),
        patch_size=st.tuples(st.integers(), st.integers(), st.integers()).filter(
            lambda sizes: all(abs(size) < 2**63 for size in sizes)
        ),
        causal=st.booleans(),
        mlp_ratio=st.floats(min_value=0, exclude_min=True),
    ),
    flow=st.builds(Flow, prediction=st.sampled_from(["velocity", "noise", "data"]), shift=FLOATS | st.just("auto")),
    optimiser=st.builds(Optimiser, lr=FLOATS, betas=st.tuples(FLOATS, FLOATS)),
    run=st.builds(
        Run,
        name=TEXT,
        sizes=st.lists(st.integers(-(2**62), 2**62)).map(tuple),
        schedule=st.builds(Schedule, warmup_steps=st.integers(0, 100)),
    ),
    sources=st.lists(st.builds(Source, path=PATHS, weight=st.floats(min_value=0)), max_size=3).map(tuple),
    weights=st.dictionaries(TEXT, FLOATS, max_size=3),
)


@given(RECIPES)
def test_what_is_written_loads_to_the_same_recipe(tmp_path_factory: pytest.TempPathFactory, recipe: Toy) -> None:
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_text(recipe_text(recipe), encoding="utf-8")
    loaded = load_recipe(Toy, path)
    assert loaded.recipe == recipe
    assert "default" not in {origin for key, origin in loaded.origins.items() if not key.startswith("sources")}


def test_every_value_says_where_it_comes_from(workspace: Path) -> None:
    Path("x.toml").write_text('kind = "dit.train"\n[run]\nname = "x"\n[[sources]]\npath = "a"\n')
    write_recipe(load_recipe(Toy, Path("x.toml"), ["dit.depth=3"]), Path("recipe.toml"))
    assert Path("recipe.toml").read_text() == (
        'kind = "dit.train"  # x.toml:1\n'
        'latents = "runs/latents"  # default\n'
        "weights = {}  # default\n"
        "\n"
        "[dit]\n"
        "depth = 3  # --set\n"
        "hidden_size = 384  # default\n"
        "num_heads = 6  # default\n"
        "patch_size = [1, 2, 2]  # default\n"
        "causal = true  # default\n"
        "mlp_ratio = 4.0  # default\n"
        "\n"
        "[flow]\n"
        'prediction = "velocity"  # default\n'
        "shift = 1.0  # default\n"
        "\n"
        "[optimiser]\n"
        "lr = 0.001  # default\n"
        "betas = [0.9, 0.99]  # default\n"
        "\n"
        "[run]\n"
        'name = "x"  # x.toml:3\n'
        "sizes = [64, 128]  # default\n"
        "\n"
        "[run.schedule]\n"
        "warmup_steps = 0  # default\n"
        'decay = "cosine"  # default\n'
        "\n"
        "[[sources]]\n"
        'path = "a"  # x.toml:5\n'
        "weight = 1.0  # default\n"
    )
    assert sorted(path.name for path in workspace.iterdir()) == ["recipe.toml", "x.toml"]


def test_a_strange_file_name_cannot_end_the_comment() -> None:
    text = recipe_text(Toy(), {"latents": "a\nkind = 3:1"})
    assert 'latents = "runs/latents"  # a kind = 3:1\n' in text
