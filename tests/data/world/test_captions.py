"""Captions against the scene: every word known, everything named true, and prompts read back as what they ask."""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.world.captions import VOCABULARY, Style, caption_scene, facts, parse_prompt, relation_between
from soracli.data.world.grammar import Scene, sample_scene
from soracli.data.world.words import CAMERA_OF, CONTACT_WORDS, GROUND_WORDS, MOTION_OF, SIZE_WORDS
from tests.data.world.scenes import make_object, make_scene

STYLES: tuple[Style, ...] = ("short", "long")


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\s,.:]+", text)


def matches(asked: dict[str, Any], truth: dict[str, Any]) -> bool:
    """Whether what is asked, in some order of the objects, is true; what is not named matches anything."""
    pairs = {(one, two): name for one, name, two in truth["relations"]}
    opposite = {"left": "right", "right": "left", "in front": "behind", "behind": "in front"}
    pairs |= {(two, one): opposite[name] for (one, two), name in pairs.items()}
    for order in itertools.permutations(range(len(truth["objects"]))):
        same = len(asked["objects"]) == len(order) and all(
            value in (None, truth["objects"][number][name])
            for number, item in zip(order, asked["objects"], strict=True)
            for name, value in item.items()
        )
        if same and all(pairs[order[one], order[two]] == name for one, name, two in asked["relations"]):
            return all(asked[name] in (None, truth[name]) for name in ("ground", "sky", "camera"))
    return False


def test_all_captions_use_the_vocabulary_and_say_only_what_is_true() -> None:
    seen: set[str] = set()
    for index in range(5000):
        scene, rng = sample_scene(1, index, split="any"), random.Random(index)
        truth = facts(scene)
        contact = len(scene.objects) > 1 and index % 3 == 0
        for style, moving in itertools.product(STYLES, (True, False)):
            caption = caption_scene(scene, style=style, moving=moving, rng=rng, contact=contact)
            seen |= set(words_of(caption))
            if index < 1500:
                asked = parse_prompt(caption)
                assert asked is not None, caption
                assert matches(asked, truth), caption
                assert asked["contact"] == (contact and moving), caption
    assert seen == set(VOCABULARY)
    assert len(VOCABULARY) == len(set(VOCABULARY)) < 100
    assert list(VOCABULARY) == sorted(VOCABULARY)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_a_long_caption_names_everything(index: int, seed: int, moving: bool) -> None:
    scene = sample_scene(2, index, split="any")
    caption = caption_scene(scene, style="long", moving=moving, rng=random.Random(seed))
    asked, count = parse_prompt(caption), len(scene.objects)
    assert asked is not None
    assert asked["ground"] and asked["sky"]
    assert all(item["size"] and item["colour"] for item in asked["objects"])
    assert [bool(item["motion"]) for item in asked["objects"]] == [moving] * count
    assert bool(asked["camera"]) == moving
    assert [(one, two) for one, _, two in asked["relations"]] == [(number, number - 1) for number in range(1, count)]
    assert re.search({1: r"\bone object\b", 2: r"\btwo objects\b", 3: r"\bthree objects\b"}[count], caption)
    assert caption.endswith(".")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_a_short_caption_is_read_as_what_its_words_name(index: int, seed: int, moving: bool) -> None:
    """What is named is found here by plain search, not by the parser's tables."""
    scene = sample_scene(2, index, split="any")
    caption = caption_scene(scene, style="short", moving=moving, rng=random.Random(seed))
    asked = parse_prompt(caption)
    assert asked is not None
    words = words_of(caption)
    sizes = [word for word in words if word in ("small", "little", "large", "big")]
    assert sum(item["size"] is not None for item in asked["objects"]) == len(sizes)
    assert (asked["ground"] is not None) == bool({"grass", "sand", "snow", "stone"} & set(words))
    camera = re.search("the camera (orbits|circles|pans|moves)", caption)
    assert (asked["camera"] is not None) == (camera is not None)
    assert asked["sky"] is None
    named = [item["motion"] for item in asked["objects"]]
    assert all(named) if moving else not any(named)
    assert all(item["colour"] for item in asked["objects"])
    assert asked["camera"] != "still"


def test_phrasings_are_many() -> None:
    scene = sample_scene(0, 7, num_objects=2)
    scene = replace(scene, camera="orbit left")
    noun = re.compile(r"\ban? (?:(?:small|little|large|big) )?\w+ (?:ball|cube|cone)\b")

    def skeletons(style: Style, moving: bool) -> set[str]:
        made = (caption_scene(scene, style=style, moving=moving, rng=random.Random(number)) for number in range(500))
        return {noun.sub("N", caption) for caption in made}

    for style, moving in itertools.product(STYLES, (True, False)):
        assert len(skeletons(style, moving)) > (40 if moving else 12)


def test_short_captions_leave_out_things_at_moderate_rates() -> None:
    scenes = [replace(sample_scene(3, index), camera="pan left") for index in range(1000)]
    asked = [
        parse_prompt(caption_scene(scene, style="short", moving=True, rng=random.Random(index))) or {}
        for index, scene in enumerate(scenes)
    ]
    for name in ("ground", "camera"):
        assert 0.15 < sum(item[name] is None for item in asked) / 1000 < 0.4
    items = [item for prompt in asked for item in prompt["objects"]]
    assert 0.3 < sum(item["size"] is None for item in items) / len(items) < 0.5


def test_the_same_generator_says_the_same() -> None:
    scene = sample_scene(0, 1)
    first, second = (caption_scene(scene, style="long", moving=True, rng=random.Random(4)) for _ in range(2))
    assert first == second


def test_facts_are_json_of_the_grammar() -> None:
    scene = sample_scene(7, 3, split="held_out")
    truth = facts(scene)
    assert json.loads(json.dumps(truth)) == truth
    assert [tuple(item.values()) for item in truth["objects"]] == [item.combination for item in scene.objects]
    assert truth["held_out"]
    assert truth["camera"] == scene.camera
    assert truth["ground"] == scene.ground


def test_relations_are_as_the_first_camera_sees_them() -> None:
    middle = make_object(position=(0, 0, 0))
    for place, name in {(-1, 0.5): "left", (1, 0.5): "right", (0.5, 1): "in front", (0.5, -1): "behind"}.items():
        other = make_object(position=(place[0], 0, place[1]))
        assert relation_between(other, middle) == name
        assert facts(make_scene(other, middle))["relations"] == [[0, name, 1]]


def ask(*objects: tuple[str | None, str | None, str, str | None], **more: Any) -> dict[str, Any]:
    return {
        "objects": [
            {"colour": colour, "shape": shape, "size": size, "motion": motion}
            for size, colour, shape, motion in objects
        ],
        "ground": None,
        "sky": None,
        "camera": None,
        "relations": [],
        "contact": False,
    } | more


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a red ball bounces on green grass", ask((None, "red", "ball", "bounce"), ground="grass")),
        (
            "a small blue ball bounces on sand, the camera orbits left",
            ask(("small", "blue", "ball", "bounce"), ground="sand", camera="orbit left"),
        ),
        (
            "A big orange cube that slides to the left, and a green cone falling from above.",
            ask(("large", "orange", "cube", "left"), (None, "green", "cone", "fall")),
        ),
        (
            "a black ball to the left of a white cube on white snow",
            ask(
                (None, "black", "ball", None), (None, "white", "cube", None), ground="snow", relations=[[0, "left", 1]]
            ),
        ),
        (
            "two objects. a red ball rests. behind it, a red cone stands still. they collide. the camera is still",
            ask(
                (None, "red", "ball", "rest"),
                (None, "red", "cone", "rest"),
                camera="still",
                relations=[[1, "behind", 0]],
                contact=True,
            ),
        ),
        ("the sky is pale, a ball rolls towards the camera", ask((None, None, "ball", "towards"), sky="pale")),
    ],
)
def test_prompts_are_read(prompt: str, asked: dict[str, Any]) -> None:
    assert parse_prompt(prompt) == asked


@pytest.mark.parametrize(
    "prompt",
    [
        *(
            "",
            "grass",
            "a dog runs on grass",
            "a red ball dances",
            "red blue ball",
            "a red",
            "three objects: a red ball",
        ),
        *("a red ball bounces rolls left", "bounces a red ball", "a red ball on sand on grass", "behind it a red ball"),
        *("a red ball behind", "a red on grass ball", "the camera is still, a red ball, the camera pans left"),
    ],
)
def test_other_prompts_are_none(prompt: str) -> None:
    assert parse_prompt(prompt) is None


@given(st.lists(st.sampled_from([*VOCABULARY, ",", ".", ":", "dog", ""]), max_size=25))
def test_no_prompt_breaks_the_reader(words: list[str]) -> None:
    asked = parse_prompt(" ".join(words))
    if asked is not None:
        assert len(asked["objects"]) == sum(word in ("ball", "cube", "cone") for word in words)


def test_the_tables_name_every_value_once() -> None:
    phrases = [phrase for table in (SIZE_WORDS, GROUND_WORDS) for each in table.values() for phrase in each]
    everything = [*phrases, *MOTION_OF, *CAMERA_OF, *CONTACT_WORDS]
    assert len(everything) == len(set(everything))
    assert {word for phrase in everything for word in phrase.split()} <= set(VOCABULARY)


def test_a_scene_of_the_readme() -> None:
    """The first prompt that people try is among the captions the model is trained on."""
    scene: Scene = make_scene(replace(make_object("ball", motion="bounce", position=(0, 1, 0)), colour="red"))
    scene = replace(scene, ground="grass")
    made = {caption_scene(scene, style="short", moving=True, rng=random.Random(number)) for number in range(500)}
    assert "a red ball bounces on green grass" in made
