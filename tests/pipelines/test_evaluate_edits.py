"""Figures of edits with a judge that knows what it is shown: the true edit, nothing done, and one attribute lost."""

from dataclasses import replace

import pytest
import torch

from soracli.core.errors import DataError
from soracli.core.progress import SilentReporter
from soracli.data.world.edit_words import EDIT_KINDS
from soracli.data.world.edits import draw_edit, edit_frames
from soracli.metrics.obedience import SceneWords
from soracli.models.judge import Judge
from soracli.models.judge_store import load_judge
from soracli.pipelines import evaluate_edits as module
from soracli.pipelines.evaluate_edits import KEPT, MADE, THROUGH_VAE, TRUE, UNCHANGED, WORLD_SEEDS, evaluate_edits
from soracli.pipelines.find_model import find_model
from soracli.pipelines.score_judge import scene_words
from tests.pipelines.tiny_eval import FPS, JUDGE, SIDE

COUNT, SEED, SECONDS = 24, 3, 0.75
TIMES = torch.arange(round(SECONDS * FPS)) / FPS


def mark(frames: torch.Tensor) -> bytes:
    return frames.numpy().tobytes()


@pytest.fixture(scope="module")
def pairs():
    edits = [draw_edit(WORLD_SEEDS + SEED, number, seconds=SECONDS, split="any") for number in range(COUNT)]
    return [(edit, *edit_frames(edit, TIMES, SIDE, SIDE)) for edit in edits]


@pytest.fixture
def knows(pairs, monkeypatch):
    """The judge is right about sources and true edits, and sees an empty scene in everything else."""
    seen = {}
    for edit, before, after in pairs:
        backwards = {"left": "right", "right": "left"}
        turned = tuple(
            replace(item, motion=backwards.get(item.motion, "left")) for item in scene_words(edit.before).objects
        )
        seen[mark(before)] = scene_words(edit.before)
        truth = scene_words(edit.after)
        seen[mark(after)] = replace(truth, objects=turned, camera="pan left") if edit.is_reversed else truth
    monkeypatch.setattr(module, "judge_video", lambda judge, frames, fps: seen.get(mark(frames), SceneWords(count=0)))
    return seen


def evaluate(make, **given):
    return evaluate_and_show(make, **given)[0]


def evaluate_and_show(make, **given):
    known = {"count": COUNT, "seconds": SECONDS, "fps": FPS, "height": SIDE, "width": SIDE, "seed": SEED}
    return evaluate_edits(
        make, Judge(JUDGE), device=torch.device("cpu"), reporter=SilentReporter(), **{**known, **given}
    )


def test_the_true_edit_is_right_and_doing_nothing_changes_nothing(pairs, knows):
    truth = {mark(before): after for _, before, after in pairs}
    asked = []

    def make(frames, instruction, seed):
        asked.append((instruction, seed))
        return truth[mark(frames)]

    report, shown = evaluate_and_show(make, through_vae=lambda frames: frames.flip(2))
    assert len(shown) == COUNT
    for (_, before, after), frames in zip(pairs, shown, strict=True):  # four of each, the last of each at the end
        assert len(frames) == 8 and frames[3].equal(before[-1]) and frames[7].equal(after[-1])
    assert list(report.shares) == [MADE, TRUE, THROUGH_VAE, UNCHANGED] and len(report.cases) == COUNT
    assert [(case.instruction, case.seed) for case in report.cases] == asked
    assert [seed for _, seed in asked] == list(range(SEED, SEED + COUNT))
    assert [case.kind for case in report.cases] == [edit.kind for edit, _, _ in pairs]
    still = sum(edit.is_reversed and edit.before.camera == "still" for edit, _, _ in pairs)
    for source in (MADE, TRUE):
        found = report.shares[source]
        assert (found["changed"].right, found["changed"].total) == (COUNT, COUNT)
        assert found["kept"].right == COUNT - still  # the judge was made to say that reversed cameras pan
    assert report.shares[UNCHANGED]["changed"].right == 0
    assert report.shares[UNCHANGED]["kept"].share == 1 and report.shares[UNCHANGED]["both"].right == 0
    assert set(report.shares[TRUE]) == {"changed", "kept", "both", *KEPT}
    kinds = {edit.kind for edit, _, _ in pairs}
    assert set(report.changed_by_kind[MADE]) == kinds and len(kinds) >= 6
    assert sum(share.total for share in report.changed_by_kind[MADE].values()) == COUNT
    assert report.shares[THROUGH_VAE]["changed"].right < COUNT // 2  # mirrored frames are nobody's
    for word in ("3000003", "Wilson", "0.75 s at 8 fps", "32x32"):
        assert word in report.protocol


def test_one_attribute_that_is_lost_is_counted_alone(pairs, knows, monkeypatch):
    """All that is true but the ground, which is another one: only edits of the ground do not come out."""
    truth = {mark(before): after for _, before, after in pairs}
    known = module.judge_video
    monkeypatch.setattr(
        module, "judge_video", lambda judge, frames, fps: replace(known(judge, frames, fps), ground="water")
    )
    found = evaluate(lambda frames, instruction, seed: truth[mark(frames)]).shares[MADE]
    grounds = sum(edit.kind == "ground" for edit, _, _ in pairs)
    assert found["ground"].right == 0 and found["ground"].total == COUNT - grounds
    assert found["changed"].right == COUNT - grounds and found["kept"].right <= grounds
    for name in ("colour", "shape", "size", "motion", "count"):
        assert found[name].share == 1, name


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_what_is_asked_of_each_kind(kind, pairs):
    """The edited object must have it, another one's does not count."""
    edit, before, after = next((part for part in pairs if part[0].kind == kind), pairs[0])
    if edit.kind != kind:
        edit = next(edit for n in range(999) if (edit := draw_edit(1, n, seconds=SECONDS)).kind == kind)
        before, after = edit_frames(edit, TIMES, SIDE, SIDE)
    right, wrong = scene_words(edit.after), scene_words(edit.before)
    assert module.answer_edit(edit, before, after, right).changed
    assert not module.answer_edit(edit, before, before, wrong).changed
    empty = module.answer_edit(edit, before, before, SceneWords(count=0))
    assert not empty.changed and not empty.kept_all
    if kind == "add":
        twice = replace(right, objects=(*right.objects, right.objects[-1]))
        assert not module.answer_edit(edit, before, after, twice).changed
    if kind == "remove":
        assert module.answer_edit(edit, before, after, right).kept["count"] is None


def test_videos_that_are_too_short_are_refused():
    with pytest.raises(DataError, match="too short to be judged"):
        evaluate(lambda frames, instruction, seed: frames, count=1, seconds=0.2)


@pytest.mark.slow
def test_the_shipped_judge_tells_edits_from_sources():
    judge = load_judge(find_model("nano"))
    report, _ = evaluate_edits(
        lambda frames, instruction, seed: frames,
        judge,
        count=24,
        seconds=4.25,
        fps=4.0,
        height=128,
        width=128,
        seed=SEED,
        device=torch.device("cpu"),
        reporter=SilentReporter(),
    )
    assert report.shares[TRUE]["changed"].share >= 0.85 and report.shares[UNCHANGED]["changed"].share <= 0.1
    assert report.shares[MADE] == report.shares[UNCHANGED]
