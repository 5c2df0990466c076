"""``sora dit eval``: options in; tables (``dit_eval_tables``) or JSON out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json
from soracli.cli.dit_eval_steps import show_curve
from soracli.cli.dit_eval_tables import show_report
from soracli.cli.options import AdapterOption, DeviceOption, JsonOption, OverwriteOption
from soracli.core.errors import UsageError
from soracli.core.units import parse_seconds


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="nano, a model folder, or a finished run.")] = "nano",
    prompts: Annotated[
        int, typer.Option("--prompts", min=0, metavar="N", help="Prompts of the built-in world to judge; 0: none.")
    ] = 64,
    seconds: Annotated[
        str, typer.Option("--seconds", metavar="TIME", help="Length of their videos, and of edits.")
    ] = "4s",
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="MANIFEST", help="Clips of the training, whose names are asked for too."),
    ] = None,
    emoji: Annotated[
        int, typer.Option("--emoji", min=1, metavar="N", help="How many of their names (captions); with --clips.")
    ] = 32,
    minutes: Annotated[
        int, typer.Option("--minutes", min=0, metavar="N", help="Videos of a minute, to measure drift; 0: none.")
    ] = 0,
    sliding_window: Annotated[
        list[int] | None,
        typer.Option(
            "--sliding-window",
            min=1,
            metavar="N",
            help="Latent frames of a plain window to compare minutes with. Repeatable.",
            show_default="the model's",
        ),
    ] = None,
    seams: Annotated[
        int,
        typer.Option("--seams", min=0, metavar="N", help="Videos to extend, connect and loop, N of each; 0: none."),
    ] = 0,
    seam_clips: Annotated[
        list[Path] | None,
        typer.Option("--seam-clips", metavar="MANIFEST", help="Clips for it too, beside the world. Repeatable."),
    ] = None,
    edits: Annotated[int, typer.Option("--edits", min=0, metavar="N", help="Instructions to follow; 0: none.")] = 0,
    identity: Annotated[
        int,
        typer.Option("--identity", min=0, metavar="N", help="Scenes with an object that is hidden, 2 N; 0: none."),
    ] = 0,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps", metavar="N,N,...", help="Only this: the prompts again at each number of steps, as in 1,2,4,8,32."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**31 - 1, metavar="N", help="Which prompts, names and videos.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PICTURE", help="A .png of all videos, with what came out right."),
    ] = None,
    adapter: AdapterOption = None,
    judge: Annotated[
        Path | None,
        typer.Option("--judge", metavar="DIR", help="A judge of world videos.", show_default="the one with sora"),
    ] = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Whether videos show what prompts ask for, at the settings of sora generate without options.

    World prompts are judged beside true renders of the same scenes; videos of names are compared with all real clips;
    minutes are measured from their first seconds to their last, beside a plain sliding window; where a video goes on,
    the step there beside those around it; edits are judged by what was asked and by all that was not; what was hidden
    must come back in its colour.
    With --steps: what fewer steps cost.
    """
    length = parse_seconds(seconds)
    if steps is not None:
        others = {"--clips": clips, "--minutes": minutes, "--seams": seams, "--edits": edits, "--out": out}
        others["--identity"] = identity
        if given := [name for name, value in others.items() if value]:
            raise UsageError(f"--steps measures prompts alone; leave out {' and '.join(given)}")
        from soracli.pipelines.find_model import find_model

        show_curve(
            find_model(model),
            steps,
            prompts=prompts,
            seconds=length,
            seed=seed,
            judge=judge,
            adapter=adapter,
            device=device,
            json=json,
        )
        return
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out} exists; give another name, or --overwrite")
    from soracli.pipelines.evaluate_dit import evaluate_dit
    from soracli.pipelines.find_model import find_model

    report = evaluate_dit(
        find_model(model),
        prompts=prompts,
        seconds=length,
        clips=clips,
        names=emoji,
        minutes=minutes,
        sliding_windows=sliding_window or (),
        seams=seams,
        seam_clips=seam_clips or (),
        edits=edits,
        identity=identity,
        seed=seed,
        judge=judge,
        adapter=adapter,
        device=device,
        picture=out,
        reporter=TerminalReporter(),
    )
    if json:
        print_json(asdict(report))
    else:
        show_report(report)
