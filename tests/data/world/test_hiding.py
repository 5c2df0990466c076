"""Scenes that hide an object: drawn alike twice, a colour left out, spans, and the quick test against pixels."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.data.world.captions import caption_scene, parse_prompt
from soracli.data.world.grammar import ARENA, COLOURS
from soracli.data.world.hiding import HIDDEN_BY, could_be_hidden, draw_hiding, hidden_spans, unnamed_colour
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from soracli.data.world.seen import shown_shares


@settings(max_examples=30)
@given(index=st.integers(0, 10**6), by=st.sampled_from(HIDDEN_BY))
def test_a_scene_is_of_the_world_and_its_objects_can_be_told_apart(index, by):
    drawn = draw_hiding(3, index, by)
    assert drawn == draw_hiding(3, index, by) != draw_hiding(4, index, by)
    one, two = drawn.scene.objects
    assert one.colour != two.colour and one.shape != two.shape and {one.colour, two.colour} <= set(COLOURS)
    assert drawn.scene.objects[drawn.number].motion == "rest"
    assert drawn.scene.camera.startswith("pan" if by == "view" else "orbit")
    for item in drawn.scene.objects:
        assert max(abs(item.position[0]), abs(item.position[2])) <= ARENA - item.radius + 1e-9
    apart = [one.position[axis] - two.position[axis] for axis in (0, 2)]
    assert (apart[0] ** 2 + apart[1] ** 2) ** 0.5 > one.radius + two.radius


@settings(max_examples=60)
@given(
    index=st.integers(0, 10**6),
    by=st.sampled_from(HIDDEN_BY),
    style=st.sampled_from(("short", "long")),
    phrasing=st.integers(0, 10**6),
)
def test_a_caption_loses_one_colour_and_nothing_else(index, by, style, phrasing):
    drawn = draw_hiding(5, index, by)
    item = drawn.scene.objects[drawn.number]
    text = caption_scene(drawn.scene, style=style, moving=True, rng=random.Random(phrasing))
    told, whole = parse_prompt(unnamed_colour(text, item)), parse_prompt(text)
    assert told is not None and whole is not None
    for named in whole["objects"]:
        if named["shape"] == item.shape:
            assert named["colour"] == item.colour
            named["colour"] = None
    assert (
        told == whole and " an b" not in f" {unnamed_colour(text, item)}" and "an c" not in unnamed_colour(text, item)
    )


@given(st.lists(st.sampled_from((0.0, 0.2)), max_size=30))
def test_spans_are_all_between_two_sights(shares):
    spans = hidden_spans(torch.tensor(shares))
    inside = {frame for first, after in spans for frame in range(first, after)}
    for frame, share in enumerate(shares):
        seen_on_both_sides = any(shares[:frame]) and any(shares[frame + 1 :])
        assert (frame in inside) == (share == 0 and seen_on_both_sides)
    assert all(shares[first - 1] and shares[after] for first, after in spans)


@pytest.mark.parametrize("by", HIDDEN_BY)
def test_the_quick_test_misses_nothing_that_is_hidden(by):
    """Of what rests and is not pushed; and it says no at many times, or it would be worth nothing."""
    times = torch.arange(0, 9, 0.5)
    batch = [draw_hiding(6, index, by) for index in range(40)]
    hidden = said = 0
    for drawn, position in zip(batch, simulate([drawn.scene for drawn in batch], times).position, strict=True):
        if not torch.allclose(position[:, drawn.number], position[:1, drawn.number], atol=1e-3):
            continue
        shown = render_scene(drawn.scene, position, times, 32, 32, samples=1).object_index
        gone = shown_shares(shown, 2)[:, drawn.number] == 0
        could = could_be_hidden(drawn, times)
        assert not (gone & ~could).any(), drawn
        hidden, said = hidden + int(gone.sum()), said + int(could.sum())
    assert 0 < hidden <= said < 0.8 * len(batch) * len(times)
