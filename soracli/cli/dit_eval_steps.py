"""``sora dit eval --steps``: the curve of quality against steps as a table or JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from soracli.cli.console import TerminalReporter, print_json, print_result, print_table
from soracli.core.errors import UsageError

if TYPE_CHECKING:
    from soracli.metrics.intervals import Share
    from soracli.pipelines.evaluate_steps import StepsRow

_COLUMNS = {"colour_and_shape": "colour and shape", "motion": "motion", "count": "count"}


def parse_steps(text: str) -> list[int]:
    """``1,2,4,32`` as numbers of steps.

    Raises:
        UsageError: If it is no such list.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
        raise UsageError(f"--steps takes numbers of steps with commas between, such as 1,2,4,8,32; got '{text}'")
    numbers = [int(word) for word in words]
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--steps {text} names a number of steps twice")
    return numbers


def show_curve(
    model: Path,
    steps: str,
    *,
    prompts: int,
    seconds: float,
    seed: int,
    judge: Path | None,
    adapter: Path | None,
    device: str,
    json: bool,
) -> None:
    """Measure and print; arguments are those of ``evaluate_steps``."""
    numbers = parse_steps(steps)
    from soracli.pipelines.evaluate_steps import evaluate_steps

    report = evaluate_steps(
        model,
        numbers,
        prompts=prompts,
        seconds=seconds,
        seed=seed,
        judge=judge,
        adapter=adapter,
        device=device,
        reporter=TerminalReporter(),
    )
    if json:
        print_json(asdict(report))
        return
    print_result(f"{report.model}: prompts obeyed, %, and distance to renders, by steps\n")
    headers = ("steps", *_COLUMNS.values(), "distance", "s a video")
    print_table(headers, [_cells(str(row.num_steps), row) for row in report.rows] + [_cells("renders", report.renders)])
    print_result(f"protocol: {report.protocol}")


def _cells(name: str, row: StepsRow) -> tuple[str, ...]:
    shares = (_cell(row.obeyed.get(question)) for question in _COLUMNS)
    return name, *shares, f"{row.frechet:.3g}", f"{row.seconds:.2f}"


def _cell(share: Share | None) -> str:
    return "-" if share is None else f"{100 * share.share:.1f} [{100 * share.low:.0f}-{100 * share.high:.0f}]"
