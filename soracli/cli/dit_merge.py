"""``sora dit merge``: a model and its adapter as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soracli.cli.console import print_json, print_result
from soracli.cli.options import JsonOption, OverwriteOption


def merge(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="nano, a model folder, or a finished run: what was adapted.")
    ],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="The adapter, or the run that trained it.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to make.")],
    store: Annotated[
        str, typer.Option(metavar="TYPE", help="float32; bfloat16 is half the size and rounds.")
    ] = "float32",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Write a whole model that does what MODEL does with ADAPTER, for --model, --init and everything else."""
    from soracli.pipelines.find_model import find_model
    from soracli.pipelines.merge_dit import merge_dit

    done = merge_dit(find_model(model), adapter, out, store=store, overwrite=overwrite)
    if json:
        print_json({"model": done})
    else:
        print_result(done)
