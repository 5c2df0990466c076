"""Alt-text holds the rates that its configuration states, counted in the words by a reader that knows no templates."""

from __future__ import annotations

import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.data.config import AltTextConfig
from soracli.data.world.alt_text import NOISE, alt_text
from soracli.data.world.captions import VOCABULARY, facts
from soracli.data.world.grammar import sample_scene

WORDS = {
    "size": {"small": "small|little", "large": "large|big"},
    "colour": {word: word for word in ["red", "orange", "yellow", "purple", "black"]}
    | {"green": "green(?! grass)", "blue": "blue(?! sky)", "white": "white(?! snow)"},
    "shape": {word: word for word in ("ball", "cube", "cone")},
    "ground": {word: word for word in ("grass", "sand", "snow", "stone")},
    "sky": {"blue": "blue sky", "pale": "pale sky"},
    "motion": {
        "rest": "resting|lying still|sitting|standing",
        "left": "(?:rolling|sliding|moving) (?:to the )?left",
        "right": "(?:rolling|sliding|moving) (?:to the )?right",
        "towards": "towards the",
        "away": r"\w+ing away",
        "bounce": "bouncing",
        "fall": "falling|dropping",
    },
    "camera": {
        "still": "camera is still|does not move",
        "orbit left": "(?:orbits|circles) (?:to the )?left",
        "orbit right": "(?:orbits|circles) (?:to the )?right",
        "pan left": "pans (?:to the )?left",
        "pan right": "pans (?:to the )?right",
        "move in": "moves in|moves closer",
    },
}


def read(text: str) -> dict[str, str | None]:
    """The value of each kind that a text about one object names."""
    return {
        kind: next((value for value, form in values.items() if re.search(rf"\b(?:{form})", text)), None)
        for kind, values in WORDS.items()
    }


def within(hits: int, count: int, rate: float) -> bool:
    """Whether a share is within five standard deviations of a rate."""
    return abs(hits / count - rate) <= 5 * math.sqrt(max(rate * (1 - rate), 1e-9) / count)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([0.0, 0.3, 0.5, 0.9]), st.sampled_from([0.0, 0.1, 0.6, 1.0]), st.sampled_from([0.0, 0.3, 1.0]))
def test_rates_hold(omission: float, error: float, noise: float) -> None:
    config, rng = AltTextConfig(omission=omission, error=error, noise=noise), random.Random(f"{omission} {error}")
    asked = said = wrong = noisy = 0
    scenes = 300
    for index in range(scenes):
        scene = sample_scene(5, index, num_objects=1)
        text = alt_text(scene, config, moving=True, rng=rng)
        truth = {**facts(scene), **facts(scene)["objects"][0]}
        for kind, value in read(text).items():
            asked += 1
            said += value is not None
            wrong += value not in (None, truth[kind])
        noisy += any(beside in text for beside in NOISE)
    assert within(asked - said, asked, omission)
    assert within(wrong, said, error)
    assert within(noisy, scenes, noise)


def test_without_rates_it_is_the_truth_and_of_a_picture_nothing_moves() -> None:
    exact = AltTextConfig(omission=0, error=0, noise=0)
    for index in range(50):
        scene = sample_scene(6, index, num_objects=1)
        text = alt_text(scene, exact, moving=False, rng=random.Random(0))
        found = read(text)
        assert found["motion"] is None and found["camera"] is None
        assert found["colour"] == scene.objects[0].colour and found["ground"] == scene.ground


def test_everything_may_be_missing_but_a_text_is_never_empty() -> None:
    nothing = AltTextConfig(omission=1, error=0, noise=0)
    assert alt_text(sample_scene(6, 0), nothing, moving=True, rng=random.Random(0)) == "video"
    assert alt_text(sample_scene(6, 0), nothing, moving=False, rng=random.Random(0)) == "picture"


def test_it_is_decided_by_its_random_numbers() -> None:
    first, second = (alt_text(sample_scene(6, 3), AltTextConfig(), moving=True, rng=random.Random(1)) for _ in "ab")
    assert first == second


@pytest.mark.parametrize("beside", NOISE)
def test_noise_tells_nothing_of_the_world(beside: str) -> None:
    assert not set(re.findall(r"\w+", beside)) & set(VOCABULARY)
