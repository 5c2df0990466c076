"""One bad file with every kind of problem, against the exact lines that a person reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from soracli.core.errors import RecipeError
from soracli.recipe.load import load_recipe
from soracli.recipe.problems import Origins, Problem
from tests.recipe.toy import Toy

BAD = """\
kind = "dit.train"
lr = 3
[dit]
dpeth = 3
depth = true
causal = 1
mlp_ratio = 0
patch_size = [2,
  2]
hidden_size = 12.0
[flow]
prediction = "velocty"
shift = "atuo"
[train]
steps = 2
[optimizer]
lr = 2
[run]
name = 2024
lr = 2
date = 2024-01-01
schedule.warmup = 3
sizes = 1
[[sources]]
pth = "x"
[[sources]]
path = 3
weight = "1"
[weights]
a = "x"
"""


def problems(text: str, *overrides: str) -> list[str]:
    Path("bad.toml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Toy, Path("bad.toml"), overrides)
    return list(caught.value.problems)


@pytest.mark.row(65, 66)
def test_all_problems_at_once_in_the_order_of_the_file(workspace: Path) -> None:
    assert problems(BAD, "dit.dept=12", "latents.x=3", "optimiser.lr=fast") == [
        "bad.toml:2: unknown key 'lr'; 'lr' belongs to [optimiser]",
        "bad.toml:4: unknown key 'dit.dpeth'; did you mean 'dit.depth'?",
        "bad.toml:5: 'dit.depth' must be a whole number from 1 to 100, got true",
        "bad.toml:6: 'dit.causal' must be true or false, got 1; write true",
        "bad.toml:7: 'dit.mlp_ratio' must be a number above 0, got 0",
        "bad.toml:8: 'dit.patch_size' must be a list of 3 whole numbers, got [2, 2]",
        "bad.toml:10: 'dit.hidden_size' must be a whole number, got 12.0; write 12",
        'bad.toml:12: \'flow.prediction\' must be one of "velocity", "noise", "data", got "velocty"; '
        'did you mean "velocity"?',
        'bad.toml:13: \'flow.shift\' must be a number or "auto", got "atuo"; did you mean "auto"?',
        "bad.toml:14: unknown table [train]; valid tables: dit, flow, optimiser, run, run.schedule",
        "bad.toml:16: unknown table [optimizer]; did you mean [optimiser]?",
        "bad.toml:19: 'run.name' must be text in quotes, got 2024; write \"2024\"",
        "bad.toml:20: unknown key 'run.lr'; 'lr' belongs to [optimiser]",
        "bad.toml:21: 'run.date' is a date or time, which no recipe holds; for text write \"2024-01-01\"",
        "bad.toml:22: unknown key 'run.schedule.warmup'; did you mean 'run.schedule.warmup_steps'?",
        "bad.toml:23: 'run.sizes' must be a list of whole numbers, got 1",
        "bad.toml:24: missing key 'sources[0].path': a path in quotes",
        "bad.toml:25: unknown key 'sources[0].pth'; did you mean 'sources[0].path'?",
        "bad.toml:27: 'sources[1].path' must be a path in quotes, got 3; write \"3\"",
        "bad.toml:28: 'sources[1].weight' must be a number of at least 0, got \"1\"; write 1",
        "bad.toml:30: 'weights.a': input should be a valid number",
        "--set dit.dept=12: unknown key 'dit.dept'; did you mean 'dit.depth'?",
        "--set latents.x=3: 'latents' is a value, not a table",
        "--set optimiser.lr=fast: 'optimiser.lr' must be a number, got \"fast\"",
    ]


@pytest.mark.parametrize(
    ("text", "overrides", "line"),
    [
        (
            "[dit]\ndepth = 1\nnum_heads = 5\n",
            [],
            "bad.toml:4: [dit] hidden_size (384) must be divisible by num_heads (5)",
        ),
        (
            "[dit]\nnum_heads = 5\nhidden_size = 12\n",
            ["dit.hidden_size=13"],
            "--set dit.hidden_size=13: [dit] hidden_size (13) must be divisible by num_heads (5)",
        ),
        ('[run]\nname = "a/b"\n', [], "bad.toml:3: 'run.name': must hold no slash, got a/b"),
        (
            "[run]\n\nschedule = {warmup_steps = 99999}\n",
            [],
            "bad.toml:4: run.schedule.warmup_steps (99999) is too long",
        ),
    ],
)
def test_checks_between_keys_stand_at_a_key_the_user_wrote(
    workspace: Path, text: str, overrides: list[str], line: str
) -> None:
    assert problems(f'kind = "dit.train"\n{text}', *overrides) == [line]


def test_a_division_by_zero_in_a_check_is_not_hidden(workspace: Path) -> None:
    """Pydantic lets what is no ValueError through: a bug in a recipe class stays a bug."""
    Path("x.toml").write_text('kind = "dit.train"\n[dit]\nnum_heads = 0\n')
    with pytest.raises(ZeroDivisionError):
        load_recipe(Toy, Path("x.toml"))


@pytest.mark.row(65, 66)
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dit = 3", "bad.toml:2: 'dit' must be a table, got 3"),
        ("sources = [3]", "bad.toml:2: 'sources[0]' must be a table, got 3"),
        ("sources = 3", "bad.toml:2: 'sources' must be a list of tables, got 3"),
        ("[sources]\npath = 'x'", "bad.toml:2: 'sources' must be a list of tables, got { path = \"x\" }"),
        ("latents = 1e400", "bad.toml:2: 'latents' must be a path in quotes, got inf; write \"inf\""),
        ("[dit]\ndepth = 123456789012345678901", "bad.toml:3: 'dit.depth' is a number beyond 64 bits"),
        (
            "dit.patch_size = [1, 2.0, 2]",
            "bad.toml:2: 'dit.patch_size' must be a list of 3 whole numbers, got [1, 2.0, 2]",
        ),
        ("dit.DEPTH = 3", "bad.toml:2: unknown key 'dit.DEPTH'; valid keys here: "),
        ("zzzzz = 3", "bad.toml:2: unknown key 'zzzzz'; valid keys here: kind, latents, "),
        ("betsa = 3", "bad.toml:2: unknown key 'betsa'; did you mean 'optimiser.betas'?"),
        ('"a\\nb" = 3', "bad.toml:2: unknown key '\"a\\nb\"'; valid keys here: "),
        ("weights = {a = {b = 1}}", "bad.toml:2: 'weights.a': input should be a valid number"),
        ("[weights.a]\nb = 1", "bad.toml:2: 'weights.a': input should be a valid number"),
    ],
)
def test_single_problems(workspace: Path, text: str, line: str) -> None:
    (problem,) = problems(f'kind = "dit.train"\n{text}\n')
    assert problem.startswith(line)
    assert problem == line or line.endswith(("here: ", ", "))


def test_problems_stand_at_the_nearest_key_around_them() -> None:
    origins = Origins("f.toml", {("dit",): 3}, {("run", "name"): (1, "run.name=x")})
    assert origins.problem(("dit", "depth"), "no") == Problem((1, 3), "f.toml:3: no")
    assert origins.problem(("run", "name"), "no") == Problem((2, 1), "--set run.name=x: no")
    assert origins.problem(("flow",), "no") == Problem((0, 0), "f.toml: no")
    assert origins.of(("dit", "depth")) == "default"
    assert Origins().problem((), "no").text == "recipe: no"
