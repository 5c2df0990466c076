"""``sora latents``: scenes and clips through the VAE once, and what is in such a cache."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result, print_table
from soracli.cli.options import DeviceOption, DryRunOption, JsonOption, RecipeArgument, SetOption
from soracli.cli.runs import default_input, default_run
from soracli.core.units import format_seconds

if TYPE_CHECKING:
    from soracli.pipelines.describe_latents import CacheSummary
    from soracli.pipelines.plan_latents import LatentsPlan

app = typer.Typer(help="Cache latents, and see what is in a cache.", rich_markup_mode=None)

_DEFAULT_RECIPE = "nano/latents"
_DEFAULT_VAE = "runs/nano/vae"


def register(parent: typer.Typer) -> None:
    """Add the group to the application."""
    parent.add_typer(app, name="latents")


@app.callback()
def latents() -> None:
    """Cache latents, and see what is in a cache."""


@app.command("cache")
def cache(
    recipe: RecipeArgument = None,
    vae: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|DIR|hf:NAME",
            help="A finished run, a model folder, or a published VAE: its folder, or hf:OWNER/NAME.",
            show_default=_DEFAULT_VAE,
        ),
    ] = None,
    clips: Annotated[
        Path | None, typer.Option("--clips", metavar="MANIFEST", help="Clips, beside the built-in world.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="The cache.", show_default="runs/RECIPE")
    ] = None,
    set_: SetOption = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Encode scenes and clips once, for sora dit train. The same command goes on, and makes only what is missing.

    Without arguments: the nano recipe with the VAE of runs/nano/vae, into runs/nano/latents.
    """
    from soracli.pipelines.find_model import find_vae
    from soracli.pipelines.recipes import LatentsCacheRecipe
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe

    name = recipe or _DEFAULT_RECIPE
    loaded = load_recipe(LatentsCacheRecipe, find_recipe(name), set_ or [])
    model = default_input(_DEFAULT_VAE, "--vae", "sora vae train") if vae is None else find_vae(vae)
    folder = out or default_run(name)
    if dry_run:
        from soracli.pipelines.plan_latents import plan_latents

        plan = plan_latents(loaded.recipe, vae=model, clips=clips, out=folder, device=device)
        if json:
            print_json(asdict(plan))
        else:
            print_result(_plan_text(plan))
        return
    from soracli.pipelines.cache_latents import cache_latents

    done = cache_latents(loaded.recipe, vae=model, clips=clips, out=folder, device=device, reporter=TerminalReporter())
    if json:
        print_json({"latents": done})
    else:
        print_result(done)


@app.command("show")
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The cache.")] = Path("runs/nano/latents"),
    json: JsonOption = False,
) -> None:
    """What is in a cache: how much of what, and whether its latents have zero mean and unit deviation."""
    from soracli.pipelines.describe_latents import describe_latents

    summary = describe_latents(folder)
    if json:
        print_json(asdict(summary))
    else:
        _show(summary)


def _plan_text(plan: LatentsPlan) -> str:
    has_edits = plan.edit_videos + plan.edit_images > 0
    edits = [f"edits: {plan.edit_videos} videos, {plan.edit_images} images"] if has_edits else []
    return "\n".join(
        [
            f"vae: {plan.vae}, {plan.channels} channels at {'x'.join(map(str, plan.compression))}",
            f"world: {plan.world_videos} videos, {plan.world_images} images; clips: {plan.clips}",
            *edits,
            f"size: about {plan.num_bytes / 2**20:.1f} MiB in {plan.shards} shards, on {plan.device}",
            f"out: {plan.out} ({plan.shards_made} shards are there)",
        ]
    )


def _show(summary: CacheSummary) -> None:
    spec = summary.spec
    compression = "x".join(map(str, spec["compression"]))
    print_result(f"{summary.folder}: {spec['channels']} channels at {compression}, VAE {spec['vae_hash'][:12]}")
    rows = [
        (name, part.videos, format_seconds(part.seconds), part.images, f"{part.num_bytes / 2**20:.1f} MiB")
        for name, part in summary.sources.items()
    ]
    print_table(("source", "videos", "length", "images", "latents"), rows)
    print_result(f"entries: {summary.entries}; files: {summary.file_bytes / 2**20:.1f} MiB in {summary.shards} shards")
    print_result(f"mean: {' '.join(f'{value:+.2f}' for value in summary.mean)}")
    print_result(f"std: {' '.join(f'{value:.2f}' for value in summary.std)}")
    for caption in summary.captions:
        print_result(f"caption: {caption}")
