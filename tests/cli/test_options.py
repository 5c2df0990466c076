"""The shared options, against what a command receives for what is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from soracli.cli import options


def received(*arguments: str) -> dict[str, Any]:
    app = typer.Typer(rich_markup_mode=None)
    seen: dict[str, Any] = {}

    @app.command()
    def command(
        recipe: options.RecipeArgument = None,
        set_: options.SetOption = None,
        device: options.DeviceOption = "auto",
        seed: options.SeedOption = None,
        out: options.OutOption = None,
        overwrite: options.OverwriteOption = False,
        json: options.JsonOption = False,
        dry_run: options.DryRunOption = False,
    ) -> None:
        seen.update(locals())

    typer.main.get_command(app).main(list(arguments), prog_name="x", standalone_mode=False)
    del seen["seen"]
    return seen


def test_nothing_typed() -> None:
    values = received()
    assert values["set_"] in (None, [])
    assert {name: value for name, value in values.items() if name != "set_"} == {
        "recipe": None,
        "device": "auto",
        "seed": None,
        "out": None,
        "overwrite": False,
        "json": False,
        "dry_run": False,
    }


@pytest.mark.parametrize("out", ["--out", "-o"])
@pytest.mark.parametrize("overwrite", ["--overwrite", "-y"])
def test_everything_typed(out: str, overwrite: str) -> None:
    typed = ["nano/vae", "--set", "a=1", "--set", "b=2", "--device", "cpu", "--seed", "3", out, "x", overwrite]
    assert received(*typed, "--json", "--dry-run") == {
        "recipe": "nano/vae",
        "set_": ["a=1", "b=2"],
        "device": "cpu",
        "seed": 3,
        "out": Path("x"),
        "overwrite": True,
        "json": True,
        "dry_run": True,
    }
