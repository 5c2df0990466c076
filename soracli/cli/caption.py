"""``sora caption``: train a captioner; ``caption_write`` has it caption clips, ``caption_eval`` measures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli import caption_eval, caption_write
from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import DeviceOption, DryRunOption, ForkOption, JsonOption, RecipeArgument, SetOption
from soracli.cli.runs import default_run, is_speaker
from soracli.core.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from soracli.pipelines.plan_captioner import CaptionerPlan

app = typer.Typer(help="Train a captioner, have clips captioned, and measure captions.", rich_markup_mode=None)

_DEFAULT_RECIPE = "nano/captioner"


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="caption")


@app.callback()
def caption() -> None:
    """Train a captioner, have clips captioned, and measure captions."""


@app.command("train")
def train(
    recipe: RecipeArgument = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            "--clips",
            metavar="MANIFEST",
            help="Captioned clips to learn from, beside the built-in world (--set data.world_share=0.7).",
        ),
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
    """Train a captioner, or go on with a run: the same command resumes. The model is in RUN/model.

    Without arguments: the nano recipe, on the built-in world alone, into runs/nano/captioner.
    """
    from soracli.pipelines.recipes import CaptionTrainRecipe
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe

    name = recipe or _DEFAULT_RECIPE
    loaded = load_recipe(CaptionTrainRecipe, find_recipe(name), set_ or [])
    run, speaks = out or default_run(name), is_speaker()
    if dry_run:
        from soracli.pipelines.plan_captioner import plan_captioner

        plan = plan_captioner(loaded.recipe, clips=clips, out=fork or run, device=device)
        if json and speaks:
            print_json(asdict(plan))
        elif speaks:
            print_result(_plan_text(plan))
        return
    from soracli.pipelines.train_captioner import train_captioner

    reporter: Reporter = TerminalReporter() if speaks else SilentReporter()
    done = train_captioner(
        loaded, clips=clips, out=fork or run, fork_of=run if fork else None, device=device, reporter=reporter
    )
    if json and speaks:
        print_json({"run": done, "model": done / "model"})
    elif speaks:
        print_result(done)


app.command("write")(caption_write.write)
app.command("eval")(caption_eval.evaluate)


def _plan_text(plan: CaptionerPlan) -> str:
    return "\n".join(
        [
            f"parameters: {plan.parameters / 1e6:.2f} M, {plan.model_bytes / 1e6:.1f} MB when finished",
            f"steps: {plan.steps} of {' or '.join(map(str, plan.batch_sizes))} samples, on {plan.device}",
            f"scenes: {plan.scene_bytes / 2**30:.2f} GiB in the run folder; captioned clips: {plan.clips}",
            f"out: {plan.out} ({'a run is there and would go on' if plan.resumes else 'new'})",
        ]
    )
