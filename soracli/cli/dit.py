"""``sora dit``: train the diffusion transformer, teach it few steps, and measure what it makes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli import dit_eval, dit_merge
from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import DeviceOption, DryRunOption, ForkOption, JsonOption, RecipeArgument, SetOption
from soracli.cli.runs import default_input, default_run, is_speaker
from soracli.core.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from soracli.pipelines.plan_dit import DitPlan

app = typer.Typer(help="Train the diffusion transformer, and measure it.", rich_markup_mode=None)

_DEFAULT_RECIPE = "nano/dit"
_DEFAULT_DISTILLATION = "nano/distill"
_DEFAULT_LATENTS = "runs/nano/latents"
_DEFAULT_VAE = "runs/nano/vae"


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="dit")


@app.callback()
def dit() -> None:
    """Train the diffusion transformer, and measure it."""


@app.command("train")
def train(
    recipe: RecipeArgument = None,
    latents: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Cache of sora latents cache.", show_default=_DEFAULT_LATENTS),
    ] = None,
    vae: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|DIR|hf:NAME",
            help="The VAE it was cached with; becomes part of the model.",
            show_default=_DEFAULT_VAE,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="nano|RUN|DIR", help="Begin from this model's weights instead of from nothing."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="Run folder.", show_default="runs/RECIPE")
    ] = None,
    fork: ForkOption = None,
    set_: SetOption = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Train a DiT with its text encoder, or go on with a run: the same command resumes. RUN/model is a whole model.

    With --init and --set lora.rank=16 only an adapter is trained, for --adapter and sora dit merge.

    Without arguments: the nano recipe on runs/nano/latents, into runs/nano/dit.
    """
    from soracli.pipelines.find_model import find_model, find_vae
    from soracli.pipelines.recipes import DitTrainRecipe
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe

    name = recipe or _DEFAULT_RECIPE
    loaded = load_recipe(DitTrainRecipe, find_recipe(name), set_ or [])
    cache = latents or default_input(_DEFAULT_LATENTS, "--latents", "sora latents cache")
    model = default_input(_DEFAULT_VAE, "--vae", "sora vae train") if vae is None else find_vae(vae)
    start = find_model(init) if init else None
    run, speaks = out or default_run(name), is_speaker()
    if dry_run:
        from soracli.pipelines.plan_dit import plan_dit

        plan = plan_dit(loaded.recipe, latents=cache, vae=model, out=fork or run, init=start, device=device)
        if json and speaks:
            print_json(asdict(plan))
        elif speaks:
            print_result(_plan_text(plan))
        return
    from soracli.pipelines.train_dit import train_dit

    reporter: Reporter = TerminalReporter() if speaks else SilentReporter()
    done = train_dit(
        loaded,
        latents=cache,
        vae=model,
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


@app.command("distill")
def distill(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="A name, a TOML file, or a run folder.", show_default=_DEFAULT_DISTILLATION
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="nano|RUN|DIR", help="The trained model that is taught; its VAE stays in it.")
    ] = "nano",
    latents: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Cache of its VAE.", show_default=_DEFAULT_LATENTS),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="Run folder.", show_default="runs/RECIPE")
    ] = None,
    fork: ForkOption = None,
    set_: SetOption = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Teach a trained model to do with few steps and one evaluation each; the same command resumes.

    RUN/model makes videos in 4 steps by itself, and as before in many (sora generate --steps 50), guided by its own
    input or with --classical-guidance.
    """
    from soracli.pipelines.find_model import find_model
    from soracli.pipelines.recipes import DitDistillRecipe
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe

    name = recipe or _DEFAULT_DISTILLATION
    loaded = load_recipe(DitDistillRecipe, find_recipe(name), set_ or [])
    cache = latents or default_input(_DEFAULT_LATENTS, "--latents", "sora latents cache")
    start, run, speaks = find_model(model), out or default_run(name), is_speaker()
    if dry_run:
        from soracli.pipelines.distill_dit import plan_distillation

        plan = plan_distillation(loaded.recipe, model=start, latents=cache, out=fork or run, device=device)
        if json and speaks:
            print_json(asdict(plan))
        elif speaks:
            print_result(_plan_text(plan))
        return
    from soracli.pipelines.distill_dit import distill_dit

    reporter: Reporter = TerminalReporter() if speaks else SilentReporter()
    done = distill_dit(
        loaded,
        model=start,
        latents=cache,
        out=fork or run,
        fork_of=run if fork else None,
        device=device,
        reporter=reporter,
    )
    if json and speaks:
        print_json({"run": done, "model": done / "model"})
    elif speaks:
        print_result(done)


app.command("eval")(dit_eval.evaluate)
app.command("merge")(dit_merge.merge)


def _plan_text(plan: DitPlan) -> str:
    packed = f"; packed: {plan.padding:.1%} stays empty, {plan.left_out:.1%} is left out" if plan.padding else ""
    return "\n".join(
        [
            f"parameters: DiT {plan.dit_parameters / 1e6:.2f} M, text encoder {plan.text_parameters / 1e6:.2f} M",
            *([f"frozen text encoder: {plan.frozen}"] if plan.frozen else []),
            f"latents: {plan.latents}, {plan.entries} entries",
            f"tokens: {plan.video_tokens:.0f} of video and {plan.text_tokens:.0f} of text in a sample",
            f"steps: {plan.steps} of {plan.batch_size} samples, on {plan.device}{packed}",
            f"work: about {plan.flops / 1e9:.0f} GFLOP a step, {plan.flops * plan.steps / 1e15:.3g} PFLOP in all",
            _memory_text(plan),
            f"out: {plan.out} ({'a run is there and would go on' if plan.resumes else 'new'})",
        ]
    )


def _memory_text(plan: DitPlan) -> str:
    named = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in asdict(plan.memory).items() if size)
    held = f" and {plan.num_slices} ranks hold the weights" if plan.num_slices > 1 else ""
    return f"memory: {plan.memory.total / 1e9:.2f} GB if one device has the whole batch{held} ({named})"
