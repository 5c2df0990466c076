"""``sora vae``: train a video VAE, measure how well it keeps clips, and hand it on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli import vae_export
from soracli.cli.console import TerminalReporter, print_json, print_result, print_table
from soracli.cli.options import (
    DeviceOption,
    DryRunOption,
    JsonOption,
    OverwriteOption,
    RecipeArgument,
    SetOption,
)
from soracli.cli.runs import default_run, is_speaker
from soracli.core.errors import UsageError
from soracli.core.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from soracli.pipelines.evaluate_vae import Scores, VaeReport
    from soracli.pipelines.plan_vae import VaePlan

app = typer.Typer(help="Train and measure the video VAE.", rich_markup_mode=None)

_DEFAULT_RECIPE = "nano/vae"


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="vae")


@app.callback()
def vae() -> None:
    """Train and measure the video VAE."""


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
    set_: SetOption = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Train a video VAE, or go on with a run: the same command resumes. The model is in RUN/model.

    Without arguments: the nano recipe, which also wants --clips (or --set frames.world_share=1), into runs/nano/vae.
    """
    from soracli.pipelines.recipes import VaeTrainRecipe
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe

    name = recipe or _DEFAULT_RECIPE
    loaded = load_recipe(VaeTrainRecipe, find_recipe(name), set_ or [])
    run, speaks = out or default_run(name), is_speaker()
    if dry_run:
        from soracli.pipelines.plan_vae import plan_vae

        plan = plan_vae(loaded.recipe, clips=clips, out=run, device=device)
        if json and speaks:
            print_json(asdict(plan))
        elif speaks:
            print_result(_plan_text(plan))
        return
    from soracli.pipelines.train_vae import train_vae

    reporter: Reporter = TerminalReporter() if speaks else SilentReporter()
    done = train_vae(loaded, clips=clips, out=run, device=device, reporter=reporter)
    if json and speaks:
        print_json({"run": done, "model": done / "model"})
    elif speaks:
        print_result(done)


@app.command("eval")
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="nano, a model folder, a finished run, or a published VAE: its folder, or hf:OWNER/NAME.",
        ),
    ] = "nano",
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="MANIFEST", help="Judge all validation clips of this list too."),
    ] = None,
    world: Annotated[
        int, typer.Option("--world", min=0, metavar="N", help="Held-out scenes of the built-in world; 0: none.")
    ] = 32,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PICTURE", help="A .png of originals and both decoded, side by side."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**31 - 1, metavar="N", help="Which scenes and backgrounds.")
    ] = 0,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """PSNR and SSIM on held-out clips, whole and inside objects, beside a linear code of equal compression."""
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out} exists; give another name, or --overwrite")
    from soracli.pipelines.evaluate_vae import evaluate_vae
    from soracli.pipelines.find_model import find_vae

    report = evaluate_vae(
        find_vae(model),
        clips=clips,
        world=world,
        seed=seed,
        device=device,
        picture=out,
        reporter=TerminalReporter(),
    )
    if json:
        print_json(asdict(report))
    else:
        _show(report)


app.command("export")(vae_export.export)


def _plan_text(plan: VaePlan) -> str:
    time, height, width = plan.compression
    parameters = (plan.encoder_parameters + plan.decoder_parameters) / 1e6
    parts = f"encoder {plan.encoder_parameters / 1e6:.2f} M, decoder {plan.decoder_parameters / 1e6:.2f} M"
    return "\n".join(
        [
            f"parameters: {parameters:.2f} M ({parts})",
            f"latents: {plan.channels} channels at {time}x{height}x{width}, 1 number for {plan.ratio:g} of the video",
            f"steps: {plan.steps} of {plan.batch_size} videos, on {plan.device}",
            f"clips: {plan.clips or 'none, the built-in world alone'}",
            f"out: {plan.out} ({'a run is there and would go on' if plan.resumes else 'new'})",
        ]
    )


def _show(report: VaeReport) -> None:
    time, height, width = report.compression
    rows = [
        (found.name, name, *_cells(scores))
        for found in report.sets
        for name, scores in (("VAE", found.vae), ("linear", found.linear_code))
    ]
    print_result(
        f"{report.model}: {report.channels} channels at {time}x{height}x{width}, "
        f"1 number for {report.ratio:g} of the video"
    )
    print_table(("clips", "code", "PSNR dB", "SSIM", "PSNR objects", "SSIM objects"), rows)
    for found in report.sets:
        print_result(f"{found.name}: {found.protocol}; {found.num_masked} of {found.num_clips} have masks of objects")
    print_result(f"protocol: {report.protocol}")


def _cells(scores: Scores) -> tuple[str, str, str, str]:
    return (
        f"{scores.psnr:.2f}",
        f"{scores.ssim:.4f}",
        "-" if scores.psnr_objects is None else f"{scores.psnr_objects:.2f}",
        "-" if scores.ssim_objects is None else f"{scores.ssim_objects:.4f}",
    )
