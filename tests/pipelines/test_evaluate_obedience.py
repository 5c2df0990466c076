"""Obedience with a judge that knows what it is shown: shares by hand, what is asked of whom, renders beside it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from soracli.core.errors import DataError
from soracli.core.progress import SilentReporter
from soracli.metrics.obedience import ObjectWords, SceneWords
from soracli.models.judge import Judge
from soracli.pipelines import evaluate_obedience as module
from soracli.pipelines.evaluate_obedience import GROUPS, SOURCES, ObedienceReport, evaluate_obedience, render
from soracli.pipelines.score_judge import scene_words
from soracli.pipelines.world_prompts import WorldPrompt, draw_prompts
from tests.pipelines.tiny_eval import FPS, JUDGE, SIDE, flat, pretend_maker

COUNT, SEED = 16, 40


def _evaluate(**given: Any) -> tuple[ObedienceReport, list[Tensor]]:
    known = {"count": COUNT, "seconds": 0.75, "seed": SEED, "judge_scenes": 0, "device": torch.device("cpu")}
    maker = pretend_maker(lambda prompt, seed, frames: flat(seed, frames))
    return evaluate_obedience(maker, Judge(JUDGE), reporter=SilentReporter(), **{**known, **given})


def _mark(frames: Tensor) -> tuple[float, ...]:
    return tuple(frames.float().mean((0, 1, 2)).tolist())


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> list[WorldPrompt]:
    """A judge that is right about renders and even seeds; of odd ones every other is empty, the rest move wrongly."""
    prompts = draw_prompts(COUNT, SEED)
    renders: dict[tuple[float, ...], int] = {}

    def see(judge: Judge, frames: Tensor, fps: float) -> SceneWords:
        assert fps == FPS
        number = renders.get(_mark(frames))
        if number is not None:
            return scene_words(prompts[number].scene)
        number = int(frames[0, 0, 0, 0]) - SEED
        truth = scene_words(prompts[number].scene)
        if number % 2 == 0:
            return truth
        if number % 4 == 1:
            return SceneWords(ground="sand", camera="still", count=0)
        turned = {"left": "right"}
        objects = tuple(replace(item, motion=turned.get(item.motion or "", "left")) for item in truth.objects)
        return replace(truth, objects=objects)

    maker = pretend_maker(lambda prompt, seed, frames: flat(seed, frames))
    for number, prompt in enumerate(prompts):
        frames = render(prompt.scene, maker, 0.75, torch.device("cpu"))
        renders[_mark(frames)] = number
    monkeypatch.setattr(module, "judge_video", see)
    return prompts


def test_shares_are_those_of_the_answers(oracle: list[WorldPrompt]) -> None:
    report, shown = _evaluate()
    assert set(report.shares) == set(SOURCES) and set(report.shares["generated"]) == set(GROUPS)
    made = report.shares["generated"]
    # Even seeds are right, seeds 4k + 1 empty, seeds 4k + 3 of wrong motion; even seeds are the short prompts.
    assert (made["all"]["colour_and_shape"].right, made["all"]["colour_and_shape"].total) == (12, 16)
    assert (made["all"]["motion"].right, made["all"]["motion"].total) == (8, 16)
    assert made["short"]["motion"].share == 1 and made["long"]["motion"].share == 0
    # Seeds 4k + 3 are of the held-out half, seeds 4k + 1 of the other.
    assert made["held out"]["colour_and_shape"].share == 1 and made["trained"]["colour_and_shape"].share == 0.5
    objects = [len(prompt.asked.objects) for prompt in oracle]
    assert made["all"]["object"].total == sum(objects)
    assert made["all"]["object"].right == sum(objects) - sum(objects[1::4])
    assert made["all"]["object_motion"].right == sum(objects[::2])
    asked_camera = sum(prompt.asked.camera is not None for prompt in oracle)
    assert made["all"]["camera"].total == asked_camera < 16
    for source in SOURCES[1:]:
        assert all(share.share == 1 for group in report.shares[source].values() for share in group.values())
    assert len(shown) == 16 and shown[3].shape == (6, SIDE, SIDE, 3)


def test_every_prompt_is_told_whole(oracle: list[WorldPrompt]) -> None:
    report, _ = _evaluate()
    assert [item.prompt for item in report.prompts] == [prompt.text for prompt in oracle]
    assert [item.seed for item in report.prompts] == list(range(SEED, SEED + COUNT))
    empty = report.prompts[1].answers["generated"]
    assert empty.seen.objects == () and empty.right.motion is False
    assert set(empty.objects_right) == set(empty.motions_right) == {False}
    assert report.prompts[0].asked == oracle[0].asked
    for word in ("2000040", "half of them", "0.75 s at 8 fps", "Wilson"):
        assert word in report.protocol
    assert report.judge_isolated == {} and "fresh renders" not in report.protocol


def test_the_judge_is_examined_too() -> None:
    report, _ = _evaluate(count=1, judge_scenes=2)
    assert set(report.judge_isolated) == {"colour_and_shape", "motion", "size"}
    assert report.judge_isolated["motion"].total == 2
    assert "2 fresh renders of one object" in report.protocol


def test_a_wrong_colour_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of single objects, the other attributes stay right."""
    seed = next(seed for seed in range(99) if len(draw_prompts(1, seed)[0].asked.objects) == 1)
    prompt = draw_prompts(1, seed)[0]
    (asked,) = prompt.asked.objects
    other = "red" if asked.colour != "red" else "blue"
    seen = SceneWords((ObjectWords(other, asked.shape, asked.size, asked.motion),), prompt.asked.ground, "still", 1)
    monkeypatch.setattr(module, "judge_video", lambda judge, frames, fps: seen)
    (item,) = _evaluate(count=1, seed=seed)[0].prompts
    answer = item.answers["generated"]
    assert (answer.objects_right, answer.motions_right) == ((False,), (True,))
    assert answer.right.colour_and_shape is False and answer.right.motion is True and answer.right.count is True


def test_videos_that_are_too_short_are_refused() -> None:
    with pytest.raises(DataError, match="too short to be judged"):
        _evaluate(count=1, seconds=0.2)


def test_a_long_render_is_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = pretend_maker(lambda prompt, seed, frames: flat(seed, frames))
    scene = draw_prompts(1, 0)[0].scene
    whole = render(scene, maker, 0.75, torch.device("cpu"))
    monkeypatch.setattr(module, "_RENDERED_FRAMES", 4)
    assert whole.shape == (6, SIDE, SIDE, 3) and render(scene, maker, 0.75, torch.device("cpu")).equal(whole)
