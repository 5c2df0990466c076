"""``sora judge``: train the judge that marks world videos, and examine it on fresh renders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import DeviceOption, ForkOption, JsonOption, RecipeArgument, SetOption
from soracli.cli.runs import default_run

app = typer.Typer(help="Train and examine the judge of world videos.", rich_markup_mode=None)

_DEFAULT_RECIPE = "nano/judge"


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="judge")


@app.callback()
def judge() -> None:
    """Train and examine the judge of world videos."""


@app.command("train")
def train(
    recipe: RecipeArgument = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="Run folder.", show_default="runs/RECIPE")
    ] = None,
    fork: ForkOption = None,
    set_: SetOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Train a judge on renders of the world, or go on with a run; its examination is in RUN/examination.json."""
    from soracli.pipelines.recipes import JudgeTrainRecipe
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe

    name = recipe or _DEFAULT_RECIPE
    loaded = load_recipe(JudgeTrainRecipe, find_recipe(name), set_ or [])
    from soracli.pipelines.train_judge import train_judge

    run = out or default_run(name)
    done = train_judge(
        loaded, out=fork or run, fork_of=run if fork else None, device=device, reporter=TerminalReporter()
    )
    if json:
        print_json({"run": done, "model": done / "model"})
    else:
        print_result(done)
