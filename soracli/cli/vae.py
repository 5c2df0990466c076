"""``sora vae``: train a video VAE; ``vae_eval``, ``vae_files`` and ``vae_export`` measure, use and hand it on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli import vae_eval, vae_export, vae_files
from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import DeviceOption, DryRunOption, ForkOption, JsonOption, RecipeArgument, SetOption
from soracli.cli.runs import default_run, is_speaker
from soracli.core.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from soracli.pipelines.plan_vae import VaePlan

app = typer.Typer(help="Train, measure and use the video VAE.", rich_markup_mode=None)

_DEFAULT_RECIPE = "nano/vae"


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="vae")


@app.callback()
def vae() -> None:
    """Train, measure and use the video VAE."""


@app.command("train")
def train(
    recipe: RecipeArgument = None,
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="MANIFEST", help="Clips to learn from, beside the built-in world."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="Run folder.", show_default="runs/RECIPE")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="VAE", help="Begin from the weights of nano, a VAE's folder, or a finished run."
        ),
    ] = None,
    fork: ForkOption = None,
    set_: SetOption = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Train a video VAE, or go on with a run: the same command resumes. The model is in RUN/model.

    Without arguments: the nano recipe, which also wants --clips (or --set frames.world_share=1), into runs/nano/vae.
    """
    from soracli.pipelines.find_model import find_model
    from soracli.pipelines.recipes import VaeTrainRecipe
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe

    name = recipe or _DEFAULT_RECIPE
    loaded = load_recipe(VaeTrainRecipe, find_recipe(name), set_ or [])
    run, speaks = out or default_run(name), is_speaker()
    start = None if init is None else find_model(init)
    if dry_run:
        from soracli.pipelines.plan_vae import plan_vae

        plan = plan_vae(loaded.recipe, clips=clips, out=fork or run, init=start, device=device)
        if json and speaks:
            print_json(asdict(plan))
        elif speaks:
            print_result(_plan_text(plan))
        return
    from soracli.pipelines.train_vae import train_vae

    reporter: Reporter = TerminalReporter() if speaks else SilentReporter()
    done = train_vae(
        loaded,
        clips=clips,
        out=fork or run,
        fork_of=run if fork else None,
        init=start,
        device=device,
        reporter=reporter,
    )
    if json and speaks:
        print_json({"run": done, "model": done / "model"})
    elif speaks:
        print_result(done)


app.command("eval")(vae_eval.evaluate)
app.command("encode")(vae_files.encode)
app.command("decode")(vae_files.decode)
app.command("export")(vae_export.export)


def _plan_text(plan: VaePlan) -> str:
    time, height, width = plan.compression
    parameters = (plan.encoder_parameters + plan.decoder_parameters) / 1e6
    parts = f"encoder {plan.encoder_parameters / 1e6:.2f} M, decoder {plan.decoder_parameters / 1e6:.2f} M"
    return "\n".join(
        [
            f"parameters: {parameters:.2f} M ({parts})",
            *([f"tokens: {plan.num_codes} codes, one a position"] if plan.num_codes else []),
            f"latents: {plan.channels} channels at {time}x{height}x{width}, 1 number for {plan.ratio:g} of the video",
            f"steps: {plan.steps} of {' or '.join(map(str, plan.batch_sizes))} samples, on {plan.device}",
            f"clips: {plan.clips or 'none, the built-in world alone'}",
            f"out: {plan.out} ({'a run is there and would go on' if plan.resumes else 'new'})",
        ]
    )
