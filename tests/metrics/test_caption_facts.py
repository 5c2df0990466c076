"""Facts of captions: counted by hand, and what holds for every caption of every scene of the world."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from soracli.data.world.captions import caption_scene, facts
from soracli.data.world.grammar import sample_scene
from soracli.data.world.prompts import parse_prompt
from soracli.metrics.caption_facts import KINDS, VISIBLE, FactCount, count_facts, precision, recall, sum_facts


def truth(index):
    scene = sample_scene(3, index, split="any")
    return scene, facts(scene) | {"contact": False}


@given(index=st.integers(0, 300), seed=st.integers(0, 99))
def test_the_worlds_own_captions_are_right_and_long_ones_whole(index, seed):
    scene, there = truth(index)
    for style in ("long", "short"):
        said = parse_prompt(caption_scene(scene, style=style, moving=True, rng=random.Random(seed)))
        counts = count_facts(there, said)
        assert list(counts) == list(KINDS)
        for kind, count in counts.items():
            assert count.right == count.told, kind
            assert kind == "place" or count.right <= count.there
            assert style == "short" or kind in ("place", "contact") or count.right == count.there, kind


def test_mistakes_by_hand():
    there = parse_prompt("a red ball rolls left and a blue cube rests on sand, the camera pans left")
    said = parse_prompt(
        "two objects on snow under a pale sky. a green ball rolls left. behind it, a blue cone. the camera pans left."
    )
    counts = count_facts(there, said)
    assert counts["object"] == FactCount(2, 1, 2)
    assert counts["colour"] == FactCount(2, 1, 2)
    assert counts["motion"] == FactCount(1, 1, 2)
    assert counts["count"] == FactCount(1, 1, 1)
    assert counts["ground"] == FactCount(1, 0, 1) and counts["camera"] == FactCount(1, 1, 1)
    assert counts["sky"] == FactCount(1, 0, 0) and counts["place"] == FactCount(1, 0, 0)
    assert counts["contact"] == FactCount(0, 0, 0)


def test_an_object_too_many_is_wrong_in_everything_and_places_hold_both_ways():
    there = parse_prompt("a red ball, a blue cube") | {"relations": [[0, "left", 1]]}
    said = parse_prompt("a blue cube to the right of a red ball, a white cone falls")
    counts = count_facts(there, said)
    assert counts["object"] == FactCount(3, 2, 2) and counts["colour"] == FactCount(3, 2, 2)
    assert counts["motion"] == FactCount(1, 0, 0) and counts["count"] == FactCount(1, 0, 1)
    assert counts["place"] == FactCount(1, 1, 0)
    wrong = parse_prompt("a red ball behind a blue cube")
    assert count_facts(there, wrong)["place"] == FactCount(1, 0, 0)


def test_what_cannot_be_read_tells_nothing():
    _, there = truth(2)
    counts = count_facts(there, None)
    assert all(count.told == count.right == 0 for count in counts.values())
    total = sum_facts([counts, counts])
    assert total["visible"].there == 2 * sum(counts[kind].there for kind in VISIBLE) > 0
    assert math.isnan(precision(total["visible"])) and recall(total["visible"]) == 0.0
    assert math.isnan(recall(total["place"]))
