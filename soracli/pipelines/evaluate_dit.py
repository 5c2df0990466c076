"""``sora dit eval``: whether videos show what prompts ask for, bear their names, and stay good for a minute.

Everything is made at the settings of ``sora generate`` without options, so that its figures are those of what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import soracli
from soracli.core.errors import ArtifactError, UsageError
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.marked_sheet import MarkedRow, write_marked_sheet
from soracli.metrics.obedience import QUESTIONS
from soracli.models.judge_store import load_judge
from soracli.models.record import part_folder, read_record
from soracli.pipelines.evaluate_drift import DriftReport, evaluate_drift
from soracli.pipelines.evaluate_names import NamesReport, evaluate_names
from soracli.pipelines.evaluate_obedience import ObedienceReport, evaluate_obedience
from soracli.pipelines.find_model import SHIPPED
from soracli.pipelines.video_maker import VideoMaker, open_model
from soracli.training.device import choose_device

JUDGE_SCENES = 300
"""Fresh renders of one object that the judge is examined on beside the model."""


@dataclass(frozen=True, kw_only=True)
class DitReport:
    """What ``evaluate_dit`` found; ``dataclasses.asdict`` of it is plain JSON values.

    Attributes:
        model: What was evaluated.
        settings: All that the videos were made with: those of ``sora generate``, the model's hash among them.
        seed: Decides prompts, names and videos.
        judge: The judge's folder, "" when no prompts were judged.
        judge_hash: Hash of its weights.
        obedience: World prompts, if asked for.
        names: Names of a manifest's clips, if asked for.
        drift: Long videos, if asked for.
        picture: The picture of all videos, "" without one.
    """

    model: str
    settings: Mapping[str, Any]
    seed: int
    judge: str
    judge_hash: str
    obedience: ObedienceReport | None
    names: NamesReport | None
    drift: DriftReport | None
    picture: str


def evaluate_dit(
    model: Path,
    *,
    prompts: int = 64,
    seconds: float = 4.0,
    clips: Path | None = None,
    names: int = 32,
    minutes: int = 0,
    seed: int = 0,
    judge: Path | None = None,
    judge_scenes: int = JUDGE_SCENES,
    adapter: Path | None = None,
    device: str = "auto",
    picture: Path | None = None,
    reporter: Reporter | None = None,
    maker: VideoMaker | None = None,
) -> DitReport:
    """Measure a model of videos.

    Args:
        model: A model folder or a finished run.
        prompts: World prompts to judge; 0 leaves them out.
        seconds: Length of their videos.
        clips: A manifest of clips that the model was trained on; None leaves names out.
        names: How many of its captions.
        minutes: Videos of a minute; 0 leaves them out.
        seed: Decides prompts, names and videos.
        judge: A judge's folder or run; None takes the model's own, or that which comes with sora.
        judge_scenes: Renders of one object that the judge is examined on; 0 leaves that out.
        adapter: An adapter trained on the model, or the run that trained it.
        device: As ``--device``.
        picture: A .png to write: frames of all videos with what was asked and what is right.
        reporter: Who is told of progress.
        maker: What makes the videos; None loads the model.

    Raises:
        UsageError: If nothing is asked for, or the picture is no .png.
        DataError: If the manifest cannot be used, or videos are too short to be judged.
        ArtifactError: If there is no whole model, no judge, or the adapter is one of another model.
    """
    reporter = reporter or SilentReporter()
    if not prompts and clips is None and not minutes:
        raise UsageError("nothing to evaluate: give --prompts N, --clips MANIFEST or --minutes N with N from 1 on")
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"the picture is a .png, got {picture.name!r}; try {picture.stem}.png")
    place = choose_device(device)
    judge_folder = find_judge(judge, model) if prompts else None
    maker = maker or open_model(model, place, adapter)
    rows: list[MarkedRow] = []
    obedience = named = drift = None
    if judge_folder is not None:
        obedience, shown = evaluate_obedience(
            maker,
            load_judge(judge_folder, place),
            count=prompts,
            seconds=seconds,
            seed=seed,
            judge_scenes=judge_scenes,
            device=place,
            reporter=reporter,
        )
        rows += _obedience_rows(obedience, shown)
    if clips is not None:
        named, shown = evaluate_names(maker, clips, count=names, seed=seed, device=place, reporter=reporter)
        rows += _name_rows(named, shown)
    if minutes:
        drift, shown = evaluate_drift(maker, count=minutes, seed=seed, device=place, reporter=reporter)
        rows += [MarkedRow(frames.numpy(), item.prompt) for item, frames in zip(drift.videos, shown, strict=True)]
    if picture is not None:
        write_marked_sheet(picture, rows)
    return DitReport(
        model=str(model),
        settings=maker.settings,
        seed=seed,
        judge="" if judge_folder is None else str(judge_folder),
        judge_hash="" if judge_folder is None else str(read_record(judge_folder, "judge")["hash"]),
        obedience=obedience,
        names=named,
        drift=drift,
        picture="" if picture is None else str(picture),
    )


def find_judge(judge: Path | None, model: Path) -> Path:
    """The folder of the judge that was named, else of the model's own, else of the one that comes with sora.

    Raises:
        ArtifactError: If there is none.
    """
    if judge is not None:
        return part_folder(judge, "judge")
    shipped = Path(soracli.__file__).parent / "weights" / SHIPPED[0]
    for folder in (model / "judge", model / "model/judge", shipped / "judge"):
        if (folder / "config.json").is_file():
            return folder
    raise ArtifactError("this installation has no judge of world videos; name one with --judge, or give --prompts 0")


def _obedience_rows(report: ObedienceReport, shown: Sequence[Tensor]) -> list[MarkedRow]:
    rows = []
    for item, frames in zip(report.prompts, shown, strict=True):
        right = item.answers["generated"].right
        answers = {question.replace("_", " "): getattr(right, question) for question in QUESTIONS}
        marks = tuple((question, answer) for question, answer in answers.items() if answer is not None)
        kind = "held out" if item.held_out else "trained"
        rows.append(MarkedRow(frames.numpy(), f"{item.prompt}   [{kind}, seed {item.seed}]", marks))
    return rows


def _name_rows(report: NamesReport, shown: Sequence[Tensor]) -> list[MarkedRow]:
    return [
        MarkedRow(
            frames.numpy(),
            f"{item.name}   [seed {item.seed}]",
            tuple((f"nearest by {kind}: {names[0]}", names[0] == item.name) for kind, names in item.nearest.items()),
        )
        for item, frames in zip(report.videos, shown, strict=True)
    ]
