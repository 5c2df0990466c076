"""``sora vae export``: our VAE for other people's code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soracli.cli.console import print_json, print_result
from soracli.cli.options import JsonOption, OverwriteOption


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="nano, a model folder, or a finished run.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Write a VAE as a folder that needs only torch and safetensors: weights, config.json, and its code in one file."""
    from soracli.pipelines.export_vae import export_vae
    from soracli.pipelines.find_model import find_model

    done = export_vae(find_model(model), out, overwrite=overwrite)
    if json:
        print_json({"vae": done})
    else:
        print_result(done)
