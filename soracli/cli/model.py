"""``sora model``: what is in a model, and which ones there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soracli.cli.console import print_json, print_result, print_table
from soracli.cli.options import JsonOption

if TYPE_CHECKING:
    from soracli.pipelines.describe_model import ModelSummary

app = typer.Typer(help="See what is in a model, and which ones there are.", rich_markup_mode=None)


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="model")


@app.callback()
def model() -> None:
    """See what is in a model, and which ones there are."""


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="nano, a model folder, or a finished run.")] = "nano",
    json: JsonOption = False,
) -> None:
    """Parts of a model with their sizes and hashes, what it was trained with, and its defaults."""
    from soracli.pipelines.describe_model import describe_model
    from soracli.pipelines.find_model import find_model

    summary = describe_model(find_model(name))
    if json:
        print_json(asdict(summary))
    else:
        _show(summary)


@app.command("list")
def list_(
    runs: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of runs.")] = Path("runs"),
    json: JsonOption = False,
) -> None:
    """The models that come with sora, and those of finished runs."""
    from soracli.pipelines.describe_model import list_models

    found = list_models(runs)
    if json:
        print_json([{"name": name, **asdict(summary)} for name, summary in found.items()])
    else:
        rows = [
            (name, " ".join(part.kind for part in summary.parts), _millions(sum(p.parameters for p in summary.parts)))
            for name, summary in found.items()
        ]
        print_table(("name", "parts", "parameters"), rows)


def _show(summary: ModelSummary) -> None:
    print_result(summary.folder)
    rows = [
        (part.kind, _millions(part.parameters), part.stored, f"{part.num_bytes / 2**20:.1f} MiB", part.hash[:12])
        for part in summary.parts
    ]
    print_table(("part", "parameters", "stored as", "size", "hash"), rows)
    for name, facts in summary.facts.items():
        print_result(f"{name}: {_line(facts)}")


def _line(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in facts.items())


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
