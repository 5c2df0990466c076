"""``sora plan``: what a recipe costs on a cluster."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import JsonOption, SetOption

if TYPE_CHECKING:
    from soracli.pipelines.count_training import ClusterPlan


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("plan")(plan)


def plan(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Of a VAE or a DiT: a name (nano/dit), a TOML file, or a run folder."),
    ],
    nodes: Annotated[int, typer.Option(min=1, metavar="N", help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, metavar="N", help="GPUs of each machine, a rank for each.")] = 1,
    gpu: Annotated[
        str, typer.Option(metavar="NAME", help="h100, a100-80gb, rtx-4090, ...; cpu: this machine.")
    ] = "h100",
    utilisation: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1,
            metavar="U",
            help="Share of its rate that a training gets; a run tells its own (utilisation).",
        ),
    ] = 0.4,
    price: Annotated[float, typer.Option(min=0, metavar="P", help="Of a GPU for an hour, in any currency.")] = 0.0,
    latents: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Cache to count samples of; else they are of --size.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Of the videos of a DiT.", show_default="128x128")
    ] = None,
    vae: Annotated[
        str | None,
        typer.Option(metavar="RUN|DIR|RECIPE", help="What makes their latents, or its recipe.", show_default="nano"),
    ] = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """What a training needs: parameters, work and memory by part, days and price on a cluster, and what fits.

    All is counted and nothing is run; --utilisation is an assumption. For --gpu cpu the rate is measured here.
    """
    from soracli.core.units import parse_size
    from soracli.pipelines.count_training import plan_cluster
    from soracli.pipelines.plan_training import count_training, open_cluster
    from soracli.pipelines.recipes import RECIPES
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe, recipe_kind

    found = find_recipe(recipe)
    loaded = load_recipe(RECIPES[recipe_kind(found, RECIPES)], found, set_ or [])
    pixels = None if size is None else parse_size(size)
    ranks = 1 if gpu == "cpu" else nodes * gpus
    cost = count_training(loaded.recipe, gpu, latents=latents, size=pixels, vae=vae, ranks=ranks)
    cluster = open_cluster(cost, gpu, nodes=nodes, gpus=gpus, utilisation=utilisation, price=price)
    planned = plan_cluster(cost, cluster)
    if gpu != "cpu" and loaded.recipe.model_dump()["loop"]["precision"] == "float32":
        note = "the recipe multiplies in float32, and the rate is that of bfloat16: --set loop.precision=auto"
        TerminalReporter().note(note)
    if json:
        print_json(asdict(planned))
    else:
        print_result(_text(planned))


def _text(plan: ClusterPlan) -> str:
    cost, cluster = plan.cost, plan.cluster
    parameters = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in cost.parameters.items())
    memory = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in plan.memory.items())
    total, has = sum(plan.memory.values()), cluster.memory
    fits = "fits" if plan.fits else "does not fit"
    most = f"{plan.most_samples} of such samples at once are the most that fit" if plan.most_samples else "not one fits"
    paid = f", {plan.price:,.0f} at {cluster.price:g} an hour" if cluster.price else ""
    work = f"{cost.flops / 1e12:.4g} TFLOP a step, {cost.flops * cost.steps / 1e18:.4g} EFLOP in {cost.steps} steps"
    all_units = f"{cost.batch * cost.units:.4g} {cost.unit} in all"
    return "\n".join(
        [
            f"parameters  {parameters}",
            f"samples     {cost.batch:.4g} a step of {cost.units:.0f} {cost.unit}, {all_units}",
            f"work        {work}",
            f"cluster     {cluster.ranks} of {cluster.device}, {cluster.rate / 1e12:.4g} TFLOP/s each",
            f"memory      {total / 1e9:.2f} GB on each of {has / 1e9:.0f}: {memory}",
            f"            {fits}; {most}; on top come {' and '.join(cost.left_out)}",
            f"time        {plan.step_seconds:.3g} s a step, {plan.days:.3g} days in all, at an assumed "
            f"{cluster.utilisation:.0%} of the rate",
            f"price       {plan.device_hours:,.1f} hours of a device{paid}",
        ]
    )
