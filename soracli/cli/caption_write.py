"""``sora caption write``: a manifest in, the same manifest with written captions out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import DeviceOption, DryRunOption, JsonOption, OverwriteOption
from soracli.cli.runs import is_speaker
from soracli.core.errors import UsageError
from soracli.core.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from soracli.pipelines.caption_sources import CaptionSource
    from soracli.pipelines.write_captions import WritePlan, WriteSummary


def write(
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="The manifest; it stays as it is.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="MANIFEST", help="The new one.", show_default="CLIPS.captioned.jsonl"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|NAME",
            help="A captioner: a finished run or a folder; with --endpoint one of its models.",
            show_default="runs/nano/captioner",
        ),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask a vision-language model: any OpenAI-compatible server.")
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Environment variable of its key; none: no key.", show_default="OPENAI_API_KEY"
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(metavar="N", help="Frames of a clip that an endpoint is shown.", show_default="8")
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(metavar="N", help="Their longest side, pixels.", show_default="512")
    ] = None,
    max_words: Annotated[
        int | None, typer.Option(metavar="N", help="Longest caption of an endpoint.", show_default="120")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Requests to an endpoint at once.", show_default="4")
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(metavar="N", help="Requests of this call at most.", show_default="no limit")
    ] = None,
    temperature: Annotated[float, typer.Option(metavar="T", help="0 writes the likeliest caption.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Of what a temperature draws.")] = 0,
    retry: Annotated[bool, typer.Option("--retry", help="Ask again about clips that got no caption before.")] = False,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Caption every clip of a manifest; the caption a clip came with is kept beside the new one.

    The same command goes on where it stopped. Elements of a Slurm job array share the clips.
    """
    asked: dict[str, object] = {"frames": frames, "max-side": max_side, "max-words": max_words}
    asked |= {"concurrency": concurrency, "max-requests": max_requests, "key-env": key_env}
    if endpoint is None and (strangers := [name for name, value in asked.items() if value is not None]):
        raise UsageError(f"--{strangers[0]} is for --endpoint URL --model NAME; our own captioner has no such option")
    if endpoint is not None and model is None:
        raise UsageError("--endpoint needs --model NAME, one of the endpoint's models")
    speaks = is_speaker()
    reporter: Reporter = TerminalReporter() if speaks else SilentReporter()
    from soracli.pipelines.write_captions import default_out, plan_captions, write_captions_of

    if endpoint is None:
        source = _own(model, temperature, seed, device)
    else:
        numbers = {"num_frames": frames, "max_side": max_side, "max_words": max_words}
        limits = {"concurrency": concurrency, "max_requests": max_requests}
        source = _asked(endpoint, model or "", key_env, numbers, limits, temperature, seed, reporter)
    target = out or default_out(clips)
    if dry_run:
        plan = plan_captions(clips, source, out=target, retry=retry)
        if json and speaks:
            print_json(asdict(plan))
        elif speaks:
            print_result(_plan_text(plan))
        return
    done = write_captions_of(clips, source, out=target, overwrite=overwrite, retry=retry, reporter=reporter)
    _tell(done, reporter)
    if json and speaks:
        print_json(asdict(done))
    elif speaks:
        print_result(done.manifest)


def _own(model: str | None, temperature: float, seed: int, device: str) -> CaptionSource:
    from soracli.pipelines.caption_sources import DecodingOptions, captioner_source
    from soracli.pipelines.find_model import find_captioner
    from soracli.training.device import choose_device

    return captioner_source(find_captioner(model), DecodingOptions(temperature, seed), choose_device(device))


def _asked(
    endpoint: str,
    model: str,
    key_env: str | None,
    numbers: dict[str, int | None],
    limits: dict[str, int | None],
    temperature: float,
    seed: int,
    reporter: Reporter,
) -> CaptionSource:
    from soracli.data.chat_endpoint import Chat, Limits
    from soracli.data.chat_http import open_endpoint
    from soracli.pipelines.caption_sources import endpoint_source
    from soracli.pipelines.endpoint_captions import CaptionOptions

    given = {name: value for name, value in numbers.items() if value is not None}
    options = CaptionOptions(**given, temperature=temperature, seed=seed)
    most = Limits(**{name: value for name, value in limits.items() if value is not None})
    return endpoint_source(Chat(open_endpoint(endpoint, model, key_env), most, reporter.note), options)


def _tell(done: WriteSummary, reporter: Reporter) -> None:
    for name, reason in done.problems:
        reporter.note(f"keeps its caption: {name}: {reason}")
    for name, remark in done.remarks:
        reporter.note(f"note: {name}: {remark}")
    sure = "" if done.confidence is None else f", mean confidence {done.confidence:.2f}"
    kept = f", {len(done.problems)} keep the caption they had" if done.problems else ""
    reporter.note(f"{done.captioned} clips captioned{sure}{kept}")


def _plan_text(plan: WritePlan) -> str:
    names = ("captioner", "model", "endpoint")
    writer = ", ".join(f"{name} {plan.writer[name]}" for name in names if name in plan.writer)
    return "\n".join(
        [
            f"clips: {plan.clips}, {plan.uncaptioned} of them without any caption",
            f"done before: {plan.done}; left to this process: {plan.mine}",
            f"writer: {writer}",
            f"out: {plan.out}",
        ]
    )
