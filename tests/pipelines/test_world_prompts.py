"""Prompts of evaluations: always the same, in the halves they claim, true of their scenes, never a trained world."""

import pytest

from soracli.data.config import FramesConfig, JudgeDataConfig, WorldLatentsConfig
from soracli.data.world.grammar import HELD_OUT
from soracli.metrics.obedience import score_scene
from soracli.pipelines import clip_sources, score_judge
from soracli.pipelines.evaluate_drift import FIRST_PROMPT
from soracli.pipelines.score_judge import scene_words
from soracli.pipelines.world_prompts import WORLD_SEEDS, asked_words, draw_prompts, prompt_for


def test_equal_calls_draw_equal_prompts() -> None:
    prompts = draw_prompts(16, 3)
    assert draw_prompts(16, 3) == prompts
    assert draw_prompts(7, 3) == prompts[:7]
    texts = [item.text for item in prompts]
    assert len(set(texts)) == 16 and texts != [item.text for item in draw_prompts(16, 4)]


def test_these_prompts_stay_what_they_are() -> None:
    """Figures of models are compared over months: a change of these prompts must be on purpose."""
    assert [item.text for item in draw_prompts(3, 0)] == [
        "a video of a large purple cube falling from above on golden sand",
        "sand, a blue sky and two objects: a big orange ball that rolls to the left and a little red cube behind it "
        "that moves towards the camera. they bump into each other. the camera is still.",
        "snow with a little orange cone sitting, the camera moves in",
    ]


def test_halves_are_what_they_are_called() -> None:
    prompts = draw_prompts(64, 0)
    assert sum(item.held_out for item in prompts) == sum(item.style == "short" for item in prompts) == 32
    assert sum(item.held_out and item.style == "short" for item in prompts) == 16
    for item in prompts:
        shown = {thing.combination for thing in item.scene.objects}
        named = {(thing.size, thing.colour, thing.shape, thing.motion) for thing in item.asked.objects}
        assert bool(named & HELD_OUT) == item.held_out
        assert bool(shown & HELD_OUT) == item.held_out
    assert sum(len(item.text) for item in prompts if item.style == "long") > 2 * sum(
        len(item.text) for item in prompts if item.style == "short"
    )


def test_prompts_are_true_of_their_scenes() -> None:
    for item in draw_prompts(64, 1):
        answers = score_scene(item.asked, scene_words(item.scene))
        assert answers.colour_and_shape and answers.motion and answers.count
        assert False not in (answers.size, answers.ground, answers.camera)
        assert all(thing.colour and thing.shape and thing.motion for thing in item.asked.objects)
        if item.style == "long":
            assert None not in (answers.size, answers.ground, answers.camera)


def test_the_world_is_nobody_elses() -> None:
    taken = {FramesConfig().world_seed, WorldLatentsConfig().seed, JudgeDataConfig().world_seed, score_judge.WORLD_SEED}
    assert max(taken) < clip_sources.WORLD_SEEDS < WORLD_SEEDS


def test_a_written_prompt_finds_a_scene() -> None:
    found = prompt_for(FIRST_PROMPT, 0)
    (thing,) = found.scene.objects
    assert (thing.colour, thing.shape, thing.motion) == ("red", "ball", "bounce")
    assert (found.scene.ground, found.scene.camera) == ("grass", "still")
    assert found == prompt_for(FIRST_PROMPT, 0)
    assert asked_words("a dancing robot") is None
    with pytest.raises(ValueError, match="not in the words of the world"):
        prompt_for("a dancing robot", 0)
