"""``sora caption eval``: options in, tables with their protocol or JSON out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result, print_table
from soracli.cli.options import DeviceOption, JsonOption
from soracli.core.units import parse_seconds

if TYPE_CHECKING:
    from soracli.metrics.agreement import Agreement
    from soracli.metrics.caption_text import TextFigures
    from soracli.metrics.intervals import Share
    from soracli.pipelines.evaluate_captions import CaptionReport


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="A finished run or a captioner's folder.", show_default="runs/nano/captioner"
        ),
    ] = None,
    clips: Annotated[
        list[Path] | None,
        typer.Option("--clips", metavar="MANIFEST", help="Measure the captions of this list too. Repeatable."),
    ] = None,
    world: Annotated[
        int, typer.Option("--world", min=0, metavar="N", help="Scenes of each part of the built-in world; 0: none.")
    ] = 100,
    seconds: Annotated[str, typer.Option("--seconds", metavar="TIME", help="Of each scene.")] = "4s",
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """How much of what a captioner writes is right, on scenes it never saw; and how well captions fit their clips.

    On the world: precision and recall of facts by kind, combinations that training never shows apart. On manifests:
    length, variety and repetition of the captions they have, and their agreement with the clips.
    """
    length = parse_seconds(seconds)
    from soracli.pipelines.evaluate_captions import evaluate_captions
    from soracli.pipelines.find_model import find_captioner

    report = evaluate_captions(
        find_captioner(model),
        clips=clips or (),
        world=world,
        seconds=length,
        device=device,
        reporter=TerminalReporter(),
    )
    if json:
        print_json(asdict(report))
    else:
        show_report(report)


def show_report(report: CaptionReport) -> None:
    """Print what was found."""
    texts: list[tuple[object, ...]] = []
    for found in report.worlds:
        print_result(
            f"{found.name}: {found.scenes} scenes, captions without a wrong visible fact {_cell(found.flawless)}"
        )
        rows = [
            (
                kind,
                _cell(shares.precision),
                _cell(shares.recall),
                "-" if shares.precision is None else shares.precision.total,
            )
            for kind, shares in found.facts.items()
        ]
        print_table(("fact", "precision %", "recall %", "told"), rows)
        flawed = "" if found.confidence_flawed is None else f", of flawed captions {found.confidence_flawed:.3f}"
        print_result(f"not to be read: {100 * found.unread:.1f} %; confidence {found.confidence:.3f}{flawed}")
        for example in found.examples:
            print_result(f"caption: {example}")
        texts.append((found.name, *_text_cells(found.text), f"{found.agreement:.3f}", "-", "-"))
    for one in report.sets:
        texts.append((one.name, *_text_cells(one.text), *_agreement_cells(one.agreement)))
        if one.original_text is not None and one.original_agreement is not None:
            cells = *_text_cells(one.original_text), *_agreement_cells(one.original_agreement)
            texts.append((f"{one.name}, originals", *cells))
    headers = ("captions", "words", "range", "vocabulary", "distinct %", "pairs %", "repetitive %")
    print_table(("set", *headers, "agreement", "with others", "found %"), texts)
    for one in report.sets:
        print_result(f"{one.name}: {one.clips} clips, {one.uncaptioned} without caption")
        for name, reason in one.left_out:
            print_result(f"left out: {name}: {reason}")
        print_result(f"{one.name}: found is a clip's own caption among {one.agreement.among}")
    print_result(f"protocol: {report.protocol}")


def _cell(share: Share | None) -> str:
    return "-" if share is None else f"{100 * share.share:.1f} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _text_cells(text: TextFigures) -> tuple[object, ...]:
    return (
        text.captions,
        f"{text.words:.1f}",
        f"{text.shortest} to {text.longest}",
        text.vocabulary,
        f"{100 * text.distinct:.1f}",
        f"{100 * text.distinct_pairs:.1f}",
        f"{100 * text.repetitive:.1f}",
    )


def _agreement_cells(found: Agreement) -> tuple[str, str, str]:
    return f"{found.own:.3f}", f"{found.other:.3f}", f"{100 * found.found:.1f}"
