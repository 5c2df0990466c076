"""``sora dit eval``: whether videos show what prompts ask for, bear their names, and stay good for a minute.

And whether what is made beside a user's video shows no seam, what is made of it does what it was told, and what was
hidden comes back as it was.

Everything is made at the settings of ``sora generate`` without options, so that its figures are those of what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soracli
from soracli.core.errors import ArtifactError, UsageError
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.marked_sheet import MarkedRow, write_marked_sheet
from soracli.models.judge_store import load_judge
from soracli.models.record import part_folder, read_record
from soracli.pipelines.dit_sheet import drift_rows, edit_rows, identity_rows, name_rows, obedience_rows, seam_rows
from soracli.pipelines.evaluate_drift import DriftReport, evaluate_drift
from soracli.pipelines.evaluate_edits import EditReport, evaluate_edits
from soracli.pipelines.evaluate_identity import IdentityReport, evaluate_identity
from soracli.pipelines.evaluate_names import NamesReport, evaluate_names
from soracli.pipelines.evaluate_obedience import ObedienceReport, evaluate_obedience
from soracli.pipelines.evaluate_seams import SeamReport, evaluate_seams
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
        judge: The judge's folder, "" when nothing was judged.
        judge_hash: Hash of its weights.
        obedience: World prompts, if asked for.
        names: Names of a manifest's clips, if asked for.
        drift: Long videos, if asked for.
        seams: Videos made longer, connected and looped, if asked for.
        edits: Instructions followed, if asked for.
        identity: Objects that were hidden, if asked for.
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
    seams: SeamReport | None
    edits: EditReport | None
    identity: IdentityReport | None
    picture: str


def evaluate_dit(
    model: Path,
    *,
    prompts: int = 64,
    seconds: float = 4.0,
    clips: Path | None = None,
    names: int = 32,
    minutes: int = 0,
    sliding_windows: Sequence[int] = (),
    seams: int = 0,
    seam_clips: Sequence[Path] = (),
    edits: int = 0,
    identity: int = 0,
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
        seconds: Length of their videos, and of those that are edited.
        clips: A manifest of clips that the model was trained on; None leaves names out.
        names: How many of its captions.
        minutes: Videos of a minute; 0 leaves them out.
        sliding_windows: Latent frames of plain sliding windows that minutes are made with too; none takes the window
            of the model.
        seams: Videos of each verb (extend, extend backward, connect, loop) and material; 0 leaves them out.
        seam_clips: Manifests of clips that are materials beside the world.
        edits: Instruction edits; 0 leaves them out.
        identity: Scenes of each group in which an object is hidden; 0 leaves them out.
        seed: Decides prompts, names and videos.
        judge: A judge's folder or run; None takes the model's own, or that which comes with sora.
        judge_scenes: Renders of one object that the judge is examined on; 0 leaves that out.
        adapter: An adapter trained on the model, or the run that trained it.
        device: As ``--device``.
        picture: A .png to write: frames of all videos with what was asked and what is right.
        reporter: Who is told of progress.
        maker: What makes the videos; None loads the model.

    Raises:
        UsageError: If nothing is asked for, edits are and the model follows no instructions, an adapter is given where
            the verbs take none, or the picture is no .png.
        DataError: If the manifest cannot be used, or videos are too short to be judged.
        ArtifactError: If there is no whole model, no judge, or the adapter is one of another model.
    """
    reporter = reporter or SilentReporter()
    if not any((prompts, clips is not None, minutes, seams, edits, identity)):
        raise UsageError(
            "nothing to evaluate: give --prompts N, --clips MANIFEST, --minutes N, --seams N, --edits N or --identity "
            "N, N from 1 on"
        )
    if sliding_windows and not minutes:
        raise UsageError("--sliding-window says what minutes are compared with: give --minutes N too")
    if seam_clips and not seams:
        raise UsageError("--seam-clips says what seams are measured on: give --seams N too")
    if adapter is not None and (seams or edits or identity):
        raise UsageError(
            "extend, connect, loop and edit take no adapter: leave out --seams, --edits and --identity, or merge it "
            "first with sora dit merge"
        )
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"the picture is a .png, got {picture.name!r}; try {picture.stem}.png")
    place = choose_device(device)
    judge_folder = find_judge(judge, model) if prompts or minutes or edits or identity else None
    judges = None if judge_folder is None else load_judge(judge_folder, place)
    maker = maker or open_model(model, place, adapter)
    if edits and maker.verbs.edit is None:
        raise UsageError(f"{model} was not trained to follow instructions: leave out --edits")
    rows: list[MarkedRow] = []
    obedience = named = drift = seam_report = edited = kept = None
    if judges is not None and prompts:
        obedience, shown = evaluate_obedience(
            maker,
            judges,
            count=prompts,
            seconds=seconds,
            seed=seed,
            judge_scenes=judge_scenes,
            device=place,
            reporter=reporter,
        )
        rows += obedience_rows(obedience, shown)
    if clips is not None:
        named, shown = evaluate_names(maker, clips, count=names, seed=seed, device=place, reporter=reporter)
        rows += name_rows(named, shown)
    if judges is not None and minutes:
        drift, shown = evaluate_drift(
            maker,
            judges,
            count=minutes,
            windows=sliding_windows or (maker.verbs.memory.window,),
            seed=seed,
            device=place,
            reporter=reporter,
        )
        rows += drift_rows(drift, shown)
    if seams:
        seam_report, around = evaluate_seams(
            maker, model, count=seams, manifests=seam_clips, seed=seed, device=place, reporter=reporter
        )
        rows += seam_rows(around)
    if judges is not None and edits and maker.verbs.edit is not None:
        edited, shown = evaluate_edits(
            maker.verbs.edit,
            judges,
            count=edits,
            seconds=seconds,
            fps=maker.fps,
            height=maker.height,
            width=maker.width,
            seed=seed,
            device=place,
            reporter=reporter,
            through_vae=maker.decode_again,
        )
        rows += edit_rows(edited, shown)
    if judges is not None and identity:
        kept, shown = evaluate_identity(maker, judges, count=identity, seed=seed, device=place, reporter=reporter)
        rows += identity_rows(kept, shown)
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
        seams=seam_report,
        edits=edited,
        identity=kept,
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
    raise ArtifactError(
        "this installation has no judge of world videos; name one with --judge; names and seams need none"
    )
