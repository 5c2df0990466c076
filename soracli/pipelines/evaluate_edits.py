"""Whether edits do what their instruction asks and nothing else, judged beside the true edit and beside no edit at all.

What is asked is known from the pair (``data.world.edits``): one thing must change, all else that a judge can say must
be as it was. A reversed motion is one that no words tell: there the frames themselves say whether they are nearer to
the source from its end to its beginning than to the source.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.core.progress import Reporter
from soracli.data.world.edit_words import EDIT_KINDS, EditKind
from soracli.data.world.edits import (
    OBJECT_ATTRIBUTES,
    Edit,
    draw_edit,
    edit_frames,
    instruct,
    keeps_camera,
    keeps_ground,
    kept_attributes,
)
from soracli.metrics.intervals import Share, wilson_share
from soracli.metrics.obedience import ObjectWords, SceneWords, match_objects
from soracli.models.judge import Judge
from soracli.pipelines.evaluate_obedience import SHOWN_FRAMES, some_frames
from soracli.pipelines.judge import judge_video
from soracli.pipelines.score_judge import scene_words

WORLD_SEEDS = 3_000_000
"""Cases are of the world ``WORLD_SEEDS + seed``: nothing else draws it."""
MADE, TRUE, THROUGH_VAE, UNCHANGED = "edited", "true edits", "true edits through the VAE", "unchanged"
"""Whose videos are judged: the model's, the ceiling, the ceiling of its VAE, and the floor."""
KEPT = (*OBJECT_ATTRIBUTES, "count", "ground", "camera")

MakeEdit = Callable[[Tensor, str, int], Tensor]
"""Edited frames ``(T, H, W, 3)`` uint8 of source frames of the same shape, an instruction and a seed."""


@dataclass(frozen=True)
class EditAnswer:
    """What the judge said of one video.

    Attributes:
        seen: What it saw.
        changed: Whether what was asked for came out.
        kept: Of each of ``KEPT`` that must stay whether it did, in all objects; None where nothing has to.
    """

    seen: SceneWords
    changed: bool
    kept: dict[str, bool | None]

    @property
    def kept_all(self) -> bool:
        """Whether all that must stay did."""
        return all(answer is not False for answer in self.kept.values())


@dataclass(frozen=True)
class EditCase:
    """One edit and its videos.

    Attributes:
        instruction: What was asked.
        kind: What is to change.
        seed: That the edited video was made with.
        held_out: Whether a combination that training never shows is in it, before or after.
        answers: By whose video it is.
    """

    instruction: str
    kind: EditKind
    seed: int
    held_out: bool
    answers: dict[str, EditAnswer]


@dataclass(frozen=True)
class EditReport:
    """What was asked, seen and right.

    Attributes:
        cases: One by one.
        shares: By whose video and figure: ``changed``; ``kept``, everything else; ``both``; and each of ``KEPT`` that
            must stay in some case.
        changed_by_kind: By whose video and kind of edit: ``changed``.
        protocol: What was measured, for people.
    """

    cases: list[EditCase]
    shares: dict[str, dict[str, Share]]
    changed_by_kind: dict[str, dict[str, Share]]
    protocol: str


def evaluate_edits(
    make: MakeEdit,
    judge: Judge,
    *,
    count: int = 64,
    seconds: float,
    fps: float,
    height: int,
    width: int,
    seed: int,
    device: torch.device,
    reporter: Reporter,
    through_vae: Callable[[Tensor], Tensor] | None = None,
) -> tuple[EditReport, list[Tensor]]:
    """Edit scenes of the world and ask the judge what came of it.

    Args:
        make: The model.
        judge: A trained judge.
        count: Cases.
        seconds: Length of each video.
        fps: Frames a second.
        height: Rows of pixels.
        width: Columns of pixels.
        seed: Decides the cases; case i is edited with the seed ``seed + i``.
        device: Where scenes are drawn.
        reporter: Told how far it is.
        through_vae: What the model's VAE leaves of frames, as many; None leaves that ceiling out.

    Returns:
        The report, and of each case ``SHOWN_FRAMES`` frames at most: half of the source, half of what was made of it.

    Raises:
        DataError: If videos are too short to be judged.
    """
    times = torch.arange(max(1, round(seconds * fps))) / fps
    cases: list[EditCase] = []
    shown: list[Tensor] = []
    with reporter.task("edits", count, "video") as task:
        for number in range(count):
            edit = draw_edit(WORLD_SEEDS + seed, number, seconds=seconds, split="any")
            instruction = instruct(edit, random.Random(f"asked {seed} {number}"))
            before, after = (frames.cpu() for frames in edit_frames(edit, times, height, width, device=device))
            videos = {MADE: make(before, instruction, seed + number), TRUE: after}
            videos |= {THROUGH_VAE: through_vae(after)} if through_vae is not None else {}
            videos |= {UNCHANGED: before}
            cases.append(
                EditCase(
                    instruction=instruction,
                    kind=edit.kind,
                    seed=seed + number,
                    held_out=edit.before.held_out or edit.after.held_out,
                    answers={
                        name: answer_edit(edit, before, frames, judge_video(judge, frames, fps))
                        for name, frames in videos.items()
                    },
                )
            )
            shown.append(torch.cat([some_frames(one, SHOWN_FRAMES // 2) for one in (before, videos[MADE])]))
            task.advance(1, changed=sum(case.answers[MADE].changed for case in cases) / len(cases))
    sources = list(cases[0].answers) if cases else []
    report = EditReport(
        cases=cases,
        shares={source: _shares([case.answers[source] for case in cases]) for source in sources},
        changed_by_kind={source: _by_kind(cases, source) for source in sources},
        protocol=_protocol(count, seconds, fps, height, width, seed),
    )
    return report, shown


def answer_edit(edit: Edit, before: Tensor, frames: Tensor, seen: SceneWords) -> EditAnswer:
    """Compare what is seen with what was asked for and with what must stay.

    Args:
        edit: What was asked.
        before: ``(T, H, W, 3)`` the source.
        frames: ``(T, H, W, 3)`` what was made of it.
        seen: What the judge saw in ``frames``.
    """
    asked = scene_words(edit.after)
    matched = [
        ObjectWords() if number is None else seen.objects[number]
        for number in match_objects(asked.objects, seen.objects)
    ]
    kept: dict[str, bool | None] = {}
    for name in OBJECT_ATTRIBUTES:
        answers = [
            getattr(want, name) == getattr(got, name)
            for number, (want, got) in enumerate(zip(asked.objects, matched, strict=True))
            if name in kept_attributes(edit, number)
        ]
        kept[name] = all(answers) if answers else None
    right_count = len(seen.objects) == len(asked.objects)
    kept["count"] = None if edit.kind in ("add", "remove") else right_count
    kept["ground"] = seen.ground == asked.ground if keeps_ground(edit) else None
    kept["camera"] = seen.camera == asked.camera if keeps_camera(edit) else None
    return EditAnswer(seen, _is_changed(edit, before, frames, seen, matched, right_count), kept)


def _is_changed(
    edit: Edit,
    before: Tensor,
    frames: Tensor,
    seen: SceneWords,
    matched: Sequence[ObjectWords],
    right_count: bool,
) -> bool:
    if edit.kind == "reverse":
        made = frames.float()
        return bool((made - before.flip(0)).abs().mean() < (made - before).abs().mean())
    if edit.kind in ("ground", "camera"):
        return bool(getattr(seen, edit.kind) == getattr(edit.after, edit.kind))
    assert edit.number is not None
    if edit.kind == "remove":
        gone = edit.before.objects[edit.number]
        return right_count and all((item.colour, item.shape) != (gone.colour, gone.shape) for item in seen.objects)
    asked, got = edit.after.objects[edit.number], matched[edit.number]
    names = ("colour", "shape", "size") if edit.kind == "add" else (edit.kind,)
    right = all(getattr(got, name) == getattr(asked, name) for name in names)
    return right and (right_count or edit.kind != "add")


def _shares(answers: Sequence[EditAnswer]) -> dict[str, Share]:
    figures: dict[str, list[bool]] = {
        "changed": [answer.changed for answer in answers],
        "kept": [answer.kept_all for answer in answers],
        "both": [answer.changed and answer.kept_all for answer in answers],
    }
    figures |= {name: [kept for answer in answers if (kept := answer.kept[name]) is not None] for name in KEPT}
    return {name: wilson_share(sum(right), len(right)) for name, right in figures.items() if right}


def _by_kind(cases: Sequence[EditCase], source: str) -> dict[str, Share]:
    right = {kind: [case.answers[source].changed for case in cases if case.kind == kind] for kind in EDIT_KINDS}
    return {kind: wilson_share(sum(answers), len(answers)) for kind, answers in right.items() if answers}


def _protocol(count: int, seconds: float, fps: float, height: int, width: int, seed: int) -> str:
    return (
        f"{count} edits of scenes of the world {WORLD_SEEDS + seed}, which no training draws, of any combination, each "
        f"kind about as often; case i edited with seed {seed} + i, {seconds:g} s at {fps:g} fps, {width}x{height}; "
        "changed: the judge sees what was asked for (reversed: nearer, in mean absolute error, to the source backwards "
        "than to the source); kept: it sees all else as it was, in all objects, matched one to one; in brackets "
        "Wilson's 95 % intervals; beside it the judge on the true edits and on the unchanged sources"
    )
