"""``sora generate``: prompts in, videos out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from soracli.cli.console import TerminalPreview, TerminalReporter, print_json, print_result
from soracli.cli.options import (
    AdapterOption,
    ClassicalOption,
    CommandWithPairs,
    DeviceOption,
    ExpandByOption,
    ExpandOption,
    JsonOption,
    OverwriteOption,
    PreviewOption,
    PromptAtOption,
    SeedOption,
    StoryboardOption,
    chosen_expander,
)
from soracli.core.errors import UsageError
from soracli.core.units import parse_fps, parse_interval, parse_seconds, parse_size

_EXAMPLE = 'sora generate "a red ball bounces on green grass", or --prompts FILE'


def register(parent: typer.Typer) -> None:
    """Add the command to the application."""
    parent.command("generate", cls=CommandWithPairs)(generate)


def generate(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            help="What to show.",
            show_default="those of --prompts; with --image what follows from the picture",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="PICTURE",
            help="Set this picture in motion: it is the first frame, at a size of its aspect that suits the model; "
            "what hangs over is cut off. sora extend keeps its own size.",
        ),
    ] = None,
    prompt_at: PromptAtOption = None,
    storyboard: StoryboardOption = None,
    expand: ExpandOption = False,
    expand_by: ExpandByOption = None,
    seconds: Annotated[
        str | None, typer.Option(metavar="TIME", help="Length: 8s, 1m, 1m30s.", show_default="4s")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Width and height, such as 128x128, or 480p.", show_default="the model's"),
    ] = None,
    aspect: Annotated[
        str | None, typer.Option(metavar="W:H", help="With --size 480p: 16:9, 1:1.", show_default="16:9")
    ] = None,
    fps: Annotated[
        str | None, typer.Option(metavar="RATE", help="Frames a second.", show_default="the model's")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps from noise to video.", show_default="the model's")
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(metavar="S", help="How strongly to follow the prompt; 1: not.", show_default="the model's"),
    ] = None,
    guidance_interval: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Noise levels that are guided, from 0 (video) to 1 (noise): 0.1:0.8. The others take half the time.",
            show_default="the model's",
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How steps are taken: euler, heun (twice the time a step), dpmpp_2m.",
            show_default="the model's",
        ),
    ] = None,
    classical_guidance: ClassicalOption = False,
    negative_prompt: Annotated[str, typer.Option(metavar="TEXT", help="What to steer away from.")] = "",
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Videos of each prompt: seed, seed + 1, ...")] = 1,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prompts, one a line; # begins a comment.")
    ] = None,
    seed: SeedOption = None,
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet", help="Also make NAME-contact-sheet.png of frames beside each video.")
    ] = False,
    grid: Annotated[
        bool, typer.Option("--grid", help="Also make NAME-grid.mp4 of several videos side by side.")
    ] = False,
    preview: PreviewOption = False,
    model: Annotated[str, typer.Option(metavar="MODEL", help="nano, a model folder, or a finished run.")] = "nano",
    adapter: AdapterOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="A .mp4, .mov, .mkv, .webm, .gif or .webp; a .png for a picture; without a suffix a folder.",
            show_default="PROMPT-SEED.mp4",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(metavar="TYPE", help="auto, float32, bfloat16 or float16.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Make videos of any length from prompts. The same seed gives the same video.

    Several videos under one name become NAME-1, NAME-2 and so on. In a folder they are named after prompt and seed, and
    the same command with the same --seed makes only what is missing.
    """
    if prompt is not None and prompts is not None:
        raise UsageError(f"both PROMPT and --prompts were given: {_EXAMPLE}")
    if prompt is None and prompts is None and image is None and storyboard is None:
        raise UsageError(f"say what to show{' at first' if prompt_at else ''}: {_EXAMPLE}")
    if size is None and aspect is not None:
        raise UsageError(f"--aspect goes with --size, as in --size 480p --aspect {aspect}")
    pixels = None if size is None else parse_size(size, aspect)
    length = None if seconds is None else parse_seconds(seconds)
    rate = None if fps is None else parse_fps(fps)
    interval = None if guidance_interval is None else parse_interval(guidance_interval)

    from soracli.data.prompt_file import read_prompts
    from soracli.pipelines.find_model import find_model
    from soracli.pipelines.plan_generation import plan_generation
    from soracli.pipelines.scenes import opening, read_scenes

    given = "--prompts" if prompts is not None else "PROMPT" if prompt is not None else ""
    first, later = opening(read_scenes(prompt_at or (), storyboard), given, may_be_absent=image is not None)
    reporter = TerminalReporter(refreshes=4 if preview else 10)
    plan = plan_generation(
        read_prompts(prompts) if prompts is not None else first if prompt is None else prompt,
        model=find_model(model),
        image=image,
        later=later,
        seconds=length,
        size=pixels,
        round_size=size is not None and re.fullmatch(r"\d+p", size.strip(), re.IGNORECASE) is not None,
        fps=rate,
        seed=seed,
        count=count,
        num_steps=steps,
        guidance_scale=guidance_scale,
        guidance_interval=interval,
        sampler=sampler,
        classical_guidance=classical_guidance,
        negative_prompt=negative_prompt,
        out=out,
        overwrite=overwrite,
        contact_sheet=contact_sheet,
        grid=grid,
        adapter=adapter,
        expand=chosen_expander(expand, expand_by, reporter.note),
    )
    from soracli.pipelines.generate import make_videos

    shown = TerminalPreview(reporter) if preview else None
    made = make_videos(plan, device=device, dtype=dtype, reporter=reporter, preview=shown)
    if json:
        print_json([{"path": path, **job.record} for path, job in zip(made, plan.jobs, strict=True)])
    else:
        for path in made:
            print_result(path)
