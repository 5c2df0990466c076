"""``sora submit``: the batch script of any recipe, for Slurm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import DryRunOption, JsonOption, OverwriteOption, SetOption
from soracli.cli.runs import default_run
from soracli.core.errors import UsageError

if TYPE_CHECKING:
    from soracli.recipe.section import Section

_CAPTIONS = "captions"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("submit")(submit)


def submit(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A name (nano/dit), a TOML file, or a run folder; or: captions (sora caption write)."
        ),
    ],
    clips: Annotated[str | None, typer.Option(metavar="MANIFEST", help="Clips, as for the recipe's command.")] = None,
    latents: Annotated[str | None, typer.Option(metavar="DIR", help="Cache, as for sora dit train.")] = None,
    vae: Annotated[str | None, typer.Option(metavar="RUN|DIR|hf:NAME", help="VAE, as for its command.")] = None,
    model: Annotated[str | None, typer.Option(metavar="RUN|DIR", help="Model, as for its command.")] = None,
    init: Annotated[str | None, typer.Option(metavar="RUN|DIR", help="What a training begins from.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="What the job writes.", show_default="runs/RECIPE")
    ] = None,
    set_: SetOption = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Machines.", show_default="as in recipes/slurm")
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="GPUs of each machine, a rank for each; 0: none.",
            show_default="as in recipes/slurm",
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Longest turn: 24h, 90m. It goes on in another.", show_default="as in recipes/slurm"
        ),
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", "-p", metavar="NAME", help="Of the cluster.")] = None,
    account: Annotated[str | None, typer.Option("--account", "-A", metavar="NAME", help="Who pays.")] = None,
    array: Annotated[
        str | None,
        typer.Option(
            metavar="0-N", help="Elements that share latents or captions.", show_default="as in recipes/slurm"
        ),
    ] = None,
    script: Annotated[Path | None, typer.Option(metavar="FILE", help="The script.", show_default="RUN.sbatch")] = None,
    overwrite: OverwriteOption = False,
    now: Annotated[bool, typer.Option("--now", help="Send it with sbatch; the job's number comes out.")] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Write the batch script of a recipe for Slurm, or send it: as many turns of the queue as it takes.

    Paths are as seen from the folder that sbatch is called in. What is read need not be there yet.
    """
    from soracli.core.files import machine_error, write_text_atomic
    from soracli.core.units import parse_seconds
    from soracli.pipelines.batch_script import Allocation, batch_script, send_script

    kind, loaded, run = _stage(recipe, set_ or [], out)
    named = {"clips": clips, "latents": latents, "vae": vae, "model": model, "init": init}
    text = batch_script(
        kind,
        loaded,
        recipe,
        out=run,
        inputs={name: value for name, value in named.items() if value is not None},
        changes=set_ or [],
        allocation=Allocation(
            nodes=nodes,
            gpus=gpus,
            time=None if time is None else parse_seconds(time, "--time"),
            partition=partition,
            account=account,
            array=array,
        ),
    )
    path = script or run.with_name(f"{run.name}.sbatch")
    if path.exists() and not overwrite and not (path.is_file() and path.read_text("utf-8") == text):
        raise UsageError(f"{path} is there, with other content: --overwrite replaces it, --script names another file")
    if dry_run:
        if json:
            print_json({"script": path, "text": text})
        else:
            print_result(text.rstrip("\n"))
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise machine_error(error, path.parent, "cannot make") from error
    write_text_atomic(path, text)
    job = send_script(path) if now else None
    if not now:
        TerminalReporter().note(f"send it: sbatch {path}")
    if json:
        print_json({"script": path, "job": job})
    else:
        print_result(path if job is None else job)


def _stage(recipe: str, changes: list[str], out: Path | None) -> tuple[str, Section | None, Path]:
    """Kind, recipe and result of what is to be submitted."""
    from soracli.pipelines.recipes import RECIPES
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe, recipe_kind

    if recipe == _CAPTIONS:
        if out is None:
            raise UsageError("captions need --out: the manifest that the job writes")
        if changes:
            raise UsageError("captions have no recipe, so nothing to --set")
        return _CAPTIONS, None, out
    found = find_recipe(recipe)
    kind = recipe_kind(found, RECIPES)
    loaded = load_recipe(RECIPES[kind], found, changes)
    return kind, loaded.recipe, out or default_run(recipe)
