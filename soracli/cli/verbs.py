"""``sora extend``, ``connect``, ``loop``, ``redo``, ``edit``: what is made beside a video of the user's, or of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from soracli.cli.console import TerminalPreview, TerminalReporter, print_json, print_result
from soracli.cli.options import (
    ClassicalOption,
    CommandWithPairs,
    DeviceOption,
    DryRunOption,
    ExpandByOption,
    ExpandOption,
    JsonOption,
    OverwriteOption,
    PreviewOption,
    PromptAtOption,
    SeedOption,
    StoryboardOption,
    TimedPrompt,
    chosen_expander,
)
from soracli.core.units import parse_interval, parse_seconds, parse_span

if TYPE_CHECKING:
    from soracli.pipelines.lay_out import Verb

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


class Asked(NamedTuple):
    """A verb, its videos, and what its own options say to ``plan_gap``."""

    verb: Verb
    videos: list[Path]
    given: dict[str, Any]


def register(parent: typer.Typer) -> None:
    """Add the commands to the application."""
    for verb in (extend, connect, loop, redo, edit):
        parent.command(verb.__name__, cls=CommandWithPairs)(_command(verb))


def extend(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, animation or picture of any size.")],
    prompt: PromptArgument = None,
    seconds: Annotated[str, typer.Option(metavar="TIME", help="How much longer: 8s, 1m.")] = "4s",
    backward: Annotated[bool, typer.Option("--backward", help="Make what came before it.")] = False,
    prompt_at: PromptAtOption = None,
    storyboard: StoryboardOption = None,
    expand: ExpandOption = False,
    expand_by: ExpandByOption = None,
) -> Asked:
    """Make a video longer, at its own size and rate; its own frames stay as they are. Sets a picture in motion."""
    shown = _shown(prompt, prompt_at, storyboard, expand, expand_by)
    verb: Verb = "extend backward" if backward else "extend"
    return Asked(verb, [video], {**shown, "seconds": parse_seconds(seconds)})


def connect(
    first: Annotated[Path, typer.Argument(metavar="A", help="What comes first; its size and rate are kept.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="What comes last.")],
    prompt: PromptArgument = None,
    seconds: Annotated[str, typer.Option(metavar="TIME", help="Length of what is made between them.")] = "2s",
    prompt_at: PromptAtOption = None,
    storyboard: StoryboardOption = None,
    expand: ExpandOption = False,
    expand_by: ExpandByOption = None,
) -> Asked:
    """Make what leads from the end of one video to the beginning of another."""
    shown = _shown(prompt, prompt_at, storyboard, expand, expand_by)
    return Asked("connect", [first, second], {**shown, "seconds": parse_seconds(seconds)})


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
    prompt_at: PromptAtOption = None,
    storyboard: StoryboardOption = None,
    expand: ExpandOption = False,
    expand_by: ExpandByOption = None,
) -> Asked:
    """Make a video whose end runs into its beginning."""
    shown = _shown(prompt, prompt_at, storyboard, expand, expand_by)
    return Asked("loop", [video], {**shown, "seconds": None if seconds is None else parse_seconds(seconds)})


def redo(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video or animation of any size.")],
    span: Annotated[
        str,
        typer.Argument(metavar="START:END", help="What is made anew: 8s:12s, :2s for its beginning, 58s: for its end."),
    ],
    prompt: PromptArgument = None,
    prompt_at: PromptAtOption = None,
    storyboard: StoryboardOption = None,
    expand: ExpandOption = False,
    expand_by: ExpandByOption = None,
) -> Asked:
    """Make a part of a video anew, between what stands before and after it; the rest and its length stay."""
    return Asked(
        "redo", [video], {**_shown(prompt, prompt_at, storyboard, expand, expand_by), "span": parse_span(span)}
    )


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
) -> Asked:
    """Change a video: by an instruction ("make the ball blue"), or with --strength towards another prompt."""
    return Asked("edit", [video], {"prompt": prompt, "strength": strength})


def _shown(
    prompt: str | None,
    prompt_at: list[TimedPrompt] | None,
    storyboard: Path | None,
    by_rules: bool,
    by_model: tuple[str, str] | None,
) -> dict[str, Any]:
    """What the new frames show; times count from where they begin."""
    from soracli.pipelines.scenes import opening, read_scenes

    scenes = read_scenes(prompt_at or (), storyboard)
    first, later = opening(scenes, "" if prompt is None else "PROMPT", may_be_absent=True)
    return {
        "prompt": first if prompt is None else prompt,
        "later": later,
        "expand": chosen_expander(by_rules, by_model, TerminalReporter().note),
    }


def _command(verb: Callable[..., Asked]) -> Callable[..., None]:
    """A verb with its own arguments first, then those of ``_carry_out``, as typer reads them off a function."""
    own, shared = (inspect.signature(function, eval_str=True).parameters for function in (verb, _carry_out))
    taken = [*own.values(), *(parameter for name, parameter in shared.items() if name != "asked")]

    def command(**given: Any) -> None:
        _carry_out(verb(**{name: given.pop(name) for name in own}), **given)

    command.__doc__ = verb.__doc__
    command.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
    return command


def _carry_out(
    asked: Asked,
    *,
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
    preview: PreviewOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Plan what a verb asks for and make it; the options are those of all verbs."""
    from soracli.pipelines.find_model import find_model
    from soracli.pipelines.plan_gap import plan_gap

    plan = plan_gap(
        asked.verb,
        asked.videos,
        **asked.given,
        num_steps=steps,
        guidance_scale=guidance_scale,
        guidance_interval=None if guidance_interval is None else parse_interval(guidance_interval),
        sampler=sampler,
        classical_guidance=classical_guidance,
        negative_prompt=negative_prompt,
        seed=seed,
        model=find_model(model),
        out=out,
        overwrite=overwrite,
        lossless=lossless,
    )
    if dry_run:
        facts = plan.facts()
        if json:
            print_json(facts)
        else:
            for name, value in facts.items():
                print_result(f"{name}: {value}")
        return
    from soracli.pipelines.write_gap import write_gap

    reporter = TerminalReporter(refreshes=4 if preview else 10)
    shown = TerminalPreview(reporter) if preview else None
    path = write_gap(plan, device=device, dtype=dtype, reporter=reporter, preview=shown)
    if json:
        print_json({"path": path, **plan.record})
    else:
        print_result(path)
