"""Rows of the picture of ``sora dit eval``: frames of every video, what was asked, and what came out right."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from soracli.data.marked_sheet import MarkedRow
from soracli.metrics.obedience import QUESTIONS
from soracli.pipelines import evaluate_identity
from soracli.pipelines.evaluate_drift import DriftReport
from soracli.pipelines.evaluate_edits import MADE, EditReport
from soracli.pipelines.evaluate_identity import IdentityReport
from soracli.pipelines.evaluate_names import NamesReport
from soracli.pipelines.evaluate_obedience import ObedienceReport
from soracli.pipelines.evaluate_seams import SMOOTH, ShownSeam


def obedience_rows(report: ObedienceReport, shown: Sequence[Tensor]) -> list[MarkedRow]:
    """Prompts, each question that was asked marked."""
    rows = []
    for item, frames in zip(report.prompts, shown, strict=True):
        right = item.answers["generated"].right
        answers = {question.replace("_", " "): getattr(right, question) for question in QUESTIONS}
        marks = tuple((question, answer) for question, answer in answers.items() if answer is not None)
        kind = "held out" if item.held_out else "trained"
        rows.append(MarkedRow(frames.numpy(), f"{item.prompt}   [{kind}, seed {item.seed}]", marks))
    return rows


def name_rows(report: NamesReport, shown: Sequence[Tensor]) -> list[MarkedRow]:
    """Names, the nearest clip marked."""
    return [
        MarkedRow(
            frames.numpy(),
            f"{item.name}   [seed {item.seed}]",
            tuple((f"nearest by {kind}: {names[0]}", names[0] == item.name) for kind, names in item.nearest.items()),
        )
        for item, frames in zip(report.videos, shown, strict=True)
    ]


def drift_rows(report: DriftReport, shown: Sequence[Tensor]) -> list[MarkedRow]:
    """Long videos."""
    return [MarkedRow(frames.numpy(), item.prompt) for item, frames in zip(report.videos, shown, strict=True)]


def seam_rows(shown: Sequence[ShownSeam]) -> list[MarkedRow]:
    """The frames around seams, the seam in their middle."""
    rows = []
    for item in shown:
        case, seam = item.case, item.seam
        text = (
            f"{case.verb} {case.video} ({case.material}): seam at {seam.after:.2f} s, {seam.ratio:.2f} times the usual "
            f"step, {seam.plain_ratio:.2f} without the residual   [seed {case.seed}]"
        )
        marks = ((f"up to {SMOOTH:g}", seam.ratio <= SMOOTH), ("own frames kept", case.kept and case.kept_in_file))
        rows.append(MarkedRow(item.frames.numpy(), text, marks))
    return rows


def edit_rows(report: EditReport, shown: Sequence[Tensor]) -> list[MarkedRow]:
    """The source on the left, on the right what was made of it."""
    rows = []
    for case, frames in zip(report.cases, shown, strict=True):
        answer = case.answers[MADE]
        marks = (("changed", answer.changed), ("all else kept", answer.kept_all))
        rows.append(MarkedRow(frames.numpy(), f"{case.instruction}   [seed {case.seed}]", marks))
    return rows


def identity_rows(report: IdentityReport, shown: Sequence[Tensor]) -> list[MarkedRow]:
    """What was given on the left, from the last sight on; on the right what was made of it."""
    rows = []
    for case, frames in zip(report.cases, shown, strict=True):
        answer = case.answers[evaluate_identity.MADE]
        text = (
            f"{case.prompt}   [{case.group}: the {case.shape} is {case.colour}, and hidden by the {case.hidden_by} for "
            f"{case.hidden_seconds:.2f} s; came back {answer.colour or 'never'}; seed {case.seed}]"
        )
        marks = (("seen again", answer.colour is not None), ("colour kept", answer.kept))
        rows.append(MarkedRow(frames.numpy(), text, marks))
    return rows
