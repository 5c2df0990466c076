"""``sora extend``, ``connect``, ``loop`` and ``edit``: what is made beside a video of the user's, or of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import ClassicalOption, DeviceOption, DryRunOption, JsonOption, OverwriteOption, SeedOption
from soracli.core.units import parse_interval, parse_seconds

if TYPE_CHECKING:
    from soracli.pipelines.plan_gap import Verb

PromptArgument = Annotated[
    str | None,
    typer.Argument(metavar="PROMPT", help="What the new frames show.", show_default="what the video was made of"),
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", metavar="N", help="Steps from noise to video.", show_default="the model's")
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance-scale", metavar="S", help="How strongly to follow the prompt; 1: not.", show_default="the model's"
    ),
]
IntervalOption = Annotated[
    str | None,
    typer.Option(
        "--guidance-interval",
        metavar="LOW:HIGH",
        help="Noise levels that are guided, from 0 (video) to 1 (noise).",
        show_default="the model's",
    ),
]
SamplerOption = Annotated[
    str | None, typer.Option("--sampler", metavar="NAME", help="euler, heun, dpmpp_2m.", show_default="the model's")
]
NegativeOption = Annotated[str, typer.Option("--negative-prompt", metavar="TEXT", help="What to steer away from.")]
ModelOption = Annotated[str, typer.Option("--model", metavar="MODEL", help="nano, a model folder, or a finished run.")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FILE", help="A .mp4, .mov, .mkv, .webm, .gif or .webp.", show_default="VIDEO-VERB.mp4"
    ),
]
LosslessOption = Annotated[
    bool, typer.Option("--lossless", help="Keep every pixel of the video's own frames; the file is a .mkv.")
]
DtypeOption = Annotated[str, typer.Option("--dtype", metavar="TYPE", help="auto, float32, bfloat16 or float16.")]


def register(parent: typer.Typer) -> None:
    """Add the commands to the application."""
    parent.command("extend")(extend)
    parent.command("connect")(connect)
    parent.command("loop")(loop)
    parent.command("edit")(edit)


def extend(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, animation or picture of any size.")],
    prompt: PromptArgument = None,
    seconds: Annotated[str, typer.Option(metavar="TIME", help="How much longer: 8s, 1m.")] = "4s",
    backward: Annotated[bool, typer.Option("--backward", help="Make what came before it.")] = False,
    steps: StepsOption = None,
    guidance_scale: GuidanceOption = None,
    guidance_interval: IntervalOption = None,
    sampler: SamplerOption = None,
    classical_guidance: ClassicalOption = False,
    negative_prompt: NegativeOption = "",
    seed: SeedOption = None,
    model: ModelOption = "nano",
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    lossless: LosslessOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Make a video longer, at its own size and rate; its own frames stay as they are. Sets a picture in motion."""
    given: dict[str, Any] = {"prompt": prompt, "seconds": parse_seconds(seconds)}
    given |= {"num_steps": steps, "guidance_scale": guidance_scale, "guidance_interval": guidance_interval}
    given |= {"sampler": sampler, "classical_guidance": classical_guidance}
    given |= {"negative_prompt": negative_prompt, "seed": seed, "model": model, "out": out}
    given |= {"overwrite": overwrite, "lossless": lossless}
    _run("extend backward" if backward else "extend", [video], given, device, dtype, dry_run, json)


def connect(
    first: Annotated[Path, typer.Argument(metavar="A", help="What comes first; its size and rate are kept.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="What comes last.")],
    prompt: PromptArgument = None,
    seconds: Annotated[str, typer.Option(metavar="TIME", help="Length of what is made between them.")] = "2s",
    steps: StepsOption = None,
    guidance_scale: GuidanceOption = None,
    guidance_interval: IntervalOption = None,
    sampler: SamplerOption = None,
    classical_guidance: ClassicalOption = False,
    negative_prompt: NegativeOption = "",
    seed: SeedOption = None,
    model: ModelOption = "nano",
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    lossless: LosslessOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Make what leads from the end of one video to the beginning of another."""
    given: dict[str, Any] = {"prompt": prompt, "seconds": parse_seconds(seconds)}
    given |= {"num_steps": steps, "guidance_scale": guidance_scale, "guidance_interval": guidance_interval}
    given |= {"sampler": sampler, "classical_guidance": classical_guidance}
    given |= {"negative_prompt": negative_prompt, "seed": seed, "model": model, "out": out}
    given |= {"overwrite": overwrite, "lossless": lossless}
    _run("connect", [first, second], given, device, dtype, dry_run, json)


def loop(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video or animation of any size.")],
    prompt: PromptArgument = None,
    seconds: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Add a bridge of this length behind it.",
            show_default="keep its length and make its last 2s anew",
        ),
    ] = None,
    steps: StepsOption = None,
    guidance_scale: GuidanceOption = None,
    guidance_interval: IntervalOption = None,
    sampler: SamplerOption = None,
    classical_guidance: ClassicalOption = False,
    negative_prompt: NegativeOption = "",
    seed: SeedOption = None,
    model: ModelOption = "nano",
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    lossless: LosslessOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Make a video whose end runs into its beginning."""
    given: dict[str, Any] = {"prompt": prompt, "seconds": None if seconds is None else parse_seconds(seconds)}
    given |= {"num_steps": steps, "guidance_scale": guidance_scale, "guidance_interval": guidance_interval}
    given |= {"sampler": sampler, "classical_guidance": classical_guidance}
    given |= {"negative_prompt": negative_prompt, "seed": seed, "model": model, "out": out}
    given |= {"overwrite": overwrite, "lossless": lossless}
    _run("loop", [video], given, device, dtype, dry_run, json)


def edit(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, animation or picture of any size.")],
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="An instruction; with --strength what the result shows.")
    ],
    strength: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Make it anew from its own frames under so much noise: 0 as it is, 1 another video.",
            show_default="follow an instruction",
        ),
    ] = None,
    steps: StepsOption = None,
    guidance_scale: GuidanceOption = None,
    guidance_interval: IntervalOption = None,
    sampler: SamplerOption = None,
    classical_guidance: ClassicalOption = False,
    negative_prompt: NegativeOption = "",
    seed: SeedOption = None,
    model: ModelOption = "nano",
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    lossless: LosslessOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Change a video: by an instruction ("make the ball blue"), or with --strength towards another prompt."""
    given: dict[str, Any] = {"prompt": prompt, "strength": strength}
    given |= {"num_steps": steps, "guidance_scale": guidance_scale, "guidance_interval": guidance_interval}
    given |= {"sampler": sampler, "classical_guidance": classical_guidance}
    given |= {"negative_prompt": negative_prompt, "seed": seed, "model": model, "out": out}
    given |= {"overwrite": overwrite, "lossless": lossless}
    _run("edit", [video], given, device, dtype, dry_run, json)


def _run(
    verb: Verb, videos: list[Path], given: dict[str, Any], device: str, dtype: str, dry_run: bool, json: bool
) -> None:
    interval = given["guidance_interval"]
    from soracli.pipelines.find_model import find_model
    from soracli.pipelines.plan_gap import plan_gap

    given |= {"guidance_interval": None if interval is None else parse_interval(interval)}
    given |= {"model": find_model(given["model"])}
    plan = plan_gap(verb, videos, **given)
    if dry_run:
        facts = plan.facts()
        if json:
            print_json(facts)
        else:
            for name, value in facts.items():
                print_result(f"{name}: {value}")
        return
    from soracli.pipelines.write_gap import write_gap

    path = write_gap(plan, device=device, dtype=dtype, reporter=TerminalReporter())
    if json:
        print_json({"path": path, **plan.record})
    else:
        print_result(path)
