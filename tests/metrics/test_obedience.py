"""Matching and scores against worked examples, and against what must hold for any scene."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.metrics.obedience import (
    QUESTIONS,
    ObjectWords,
    SceneWords,
    confusion_table,
    match_objects,
    obedience_shares,
    score_scene,
)

RED_BALL = ObjectWords("red", "ball", "small", "bounce")
BLUE_CUBE = ObjectWords("blue", "cube", "large", "rest")

words = st.builds(
    ObjectWords,
    colour=st.sampled_from(["red", "blue"]),
    shape=st.sampled_from(["ball", "cube"]),
    size=st.sampled_from(["small", "large"]),
    motion=st.sampled_from(["rest", "left", "fall"]),
)
scenes = st.builds(
    lambda objects, ground, camera: SceneWords(tuple(objects), ground, camera, len(objects)),
    st.lists(words, min_size=1, max_size=3),
    st.sampled_from(["sand", "snow"]),
    st.sampled_from(["still", "move in"]),
)


@given(scenes, st.randoms())
def test_a_scene_obeys_itself_in_any_order(scene, rng):
    shuffled = list(scene.objects)
    rng.shuffle(shuffled)
    score = score_scene(scene, replace(scene, objects=tuple(shuffled)))
    assert all(getattr(score, question) is True for question in QUESTIONS)


@given(scenes, scenes)
def test_matching_is_one_to_one_and_right_where_it_can_be(asked, seen):
    numbers = match_objects(asked.objects, seen.objects)
    taken = [number for number in numbers if number is not None]
    assert len(numbers) == len(asked.objects)
    assert len(set(taken)) == len(taken) == min(len(asked.objects), len(seen.objects))
    looks = [(item.colour, item.shape) for item in seen.objects]
    possible = all(
        looks.count((want.colour, want.shape))
        >= sum(w.colour == want.colour and w.shape == want.shape for w in asked.objects)
        for want in asked.objects
    )
    assert score_scene(asked, seen).colour_and_shape is possible


def test_what_is_not_asked_is_not_answered():
    asked = SceneWords((ObjectWords("red", "ball"),))
    score = score_scene(asked, SceneWords((RED_BALL,), "sand", "still", 1))
    assert score.colour_and_shape is True
    assert [score.motion, score.size, score.count, score.ground, score.camera] == [None] * 5


def test_colours_swapped_between_shapes_are_wrong():
    asked = SceneWords((ObjectWords("red", "ball"), ObjectWords("blue", "cube")), count=2)
    seen = SceneWords((ObjectWords("blue", "ball"), ObjectWords("red", "cube")))
    score = score_scene(asked, seen)
    assert score.colour_and_shape is False
    assert score.count is True


def test_a_missing_object_is_wrong_in_everything_asked_of_it():
    score = score_scene(SceneWords((RED_BALL, BLUE_CUBE), count=2), SceneWords((RED_BALL,)))
    assert score == score_scene(SceneWords((RED_BALL, BLUE_CUBE), count=2), SceneWords((replace(RED_BALL),)))
    assert (score.colour_and_shape, score.motion, score.size, score.count) == (False, False, False, False)


def test_of_two_alike_the_one_that_moves_as_asked_is_meant():
    rolling = replace(RED_BALL, motion="left")
    score = score_scene(SceneWords((rolling,)), SceneWords((RED_BALL, rolling)))
    assert score.motion is True


def test_more_objects_than_are_tried_come_out_as_missing():
    assert match_objects([RED_BALL] * 8, [RED_BALL] * 8)[6:] == [None, None]


def test_nothing_seen():
    score = score_scene(SceneWords((RED_BALL,), "sand", "still", 1), SceneWords((), "sand", "move in", 0))
    assert (score.colour_and_shape, score.count, score.ground, score.camera) == (False, False, True, False)


def test_shares_count_only_scenes_that_ask():
    full = SceneWords((RED_BALL,), "sand", None, 1)
    scores = [score_scene(full, full), score_scene(SceneWords((RED_BALL,)), SceneWords())]
    shares = obedience_shares(scores)
    assert shares == {"colour_and_shape": 0.5, "motion": 0.5, "size": 0.5, "count": 1.0, "ground": 1.0}


def test_confusion_table_has_truth_in_rows():
    assert confusion_table([("a", "b"), ("a", "b"), ("b", "b")], ["a", "b"]) == [[0, 2], [0, 1]]
    with pytest.raises(ValueError, match="c"):
        confusion_table([("a", "c")], ["a", "b"])
