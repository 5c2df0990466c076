"""When an object is hidden: every promise of ``find_moments``, against the blocks of a rollout, and whole cases."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.core.errors import UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.data.world.prompts import parse_prompt
from soracli.data.world.seen import shown_shares
from soracli.diffusion.options import SamplingOptions
from soracli.pipelines import identity_cases as module
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.identity_cases import find_cases, find_moments, measured_groups
from soracli.pipelines.video_maker import Memory
from tests.pipelines.tiny_eval import FPS, pretend_maker

SPEC = LatentSpec(channels=1, compression=(4, 8, 8), mean=(0.0,), std=(1.0,), vae_hash="x")
MEMORY = Memory(window=6, block=2, frames_per_latent=4)


def remembered_latents(memory, given_count, made_count, place):
    """Latents, as ranges of frames from the first given one on, that are held when frame ``place`` is made."""
    options = SamplingOptions(window=memory.window, block=memory.block, first_block=memory.block, sink=0)
    given, made = 1 + (given_count - 1) // 4, -(-made_count // 4)
    blocks = gap_blocks(SPEC, always(""), options, fps=1.0, num_latents=made, before=torch.zeros(1, given, 1, 1))
    held, first = [], 0
    for block in blocks:
        latents = [range(1 + 4 * (number - 1), 1 + 4 * number) for number in range(first, first + len(block.seconds))]
        latents = [range(1) if latent.start < 0 else latent for latent in latents]
        if block.given is None and any(place in latent for latent in latents):
            return held[-memory.window :]
        held, first = held + latents, first + len(latents)
    raise AssertionError("nobody makes it")


PATTERNS = st.lists(
    st.tuples(st.sampled_from((0.0, 0.001, 0.01, 0.03)), st.integers(1, 30)), min_size=1, max_size=9
).map(lambda runs: torch.tensor([share for share, length in runs for _ in range(length)]))


MEMORIES = st.builds(Memory, window=st.integers(2, 8), block=st.integers(1, 5), frames_per_latent=st.just(4))


@settings(max_examples=200)
@given(shares=PATTERNS, whole=st.floats(0.0, 0.05), group=st.sampled_from(("inside", "beyond")), memory=MEMORIES)
def test_moments_are_what_they_say(shares, whole, group, memory):
    alone = torch.full_like(shares, whole)
    found = find_moments(shares, alone, FPS, memory, group)
    if found is None:
        return
    assert 0 <= found.first < found.handed_over <= found.back < found.end == found.back + 24 <= len(shares)
    assert not shares[found.hidden : found.back].any() and shares[found.hidden - 1] and shares[found.back]
    given_count = found.handed_over - found.first
    assert given_count % 4 == 1 and given_count <= 1 + 4 * (memory.window - 1)
    assert found.back - found.handed_over <= 8
    well = (shares >= 0.005) & (shares >= 0.7 * alone)
    assert int(well[found.back : found.end].sum()) >= 10
    if group == "beyond":
        assert found.first >= found.hidden and given_count == 1 + 4 * (memory.window - 1)
        return
    assert found.handed_over >= found.hidden + 8 and 8 <= found.back - found.hidden <= 24
    assert int(well[found.first : found.hidden].sum()) >= 4
    held = remembered_latents(memory, given_count, found.end - found.handed_over, found.back - found.first)
    assert any(latent.stop <= found.hidden - found.first for latent in held)


def test_moments_are_found_where_there_are_some():
    """24 frames seen, so many hidden, 30 seen again."""

    def moments(hidden, group, memory=MEMORY, whole=0.025):
        shares = torch.cat([torch.full((24,), 0.02), torch.zeros(hidden), torch.full((30,), 0.02)])
        return find_moments(shares, whole * torch.ones(len(shares)), FPS, memory, group)

    inside = {hidden for hidden in range(1, 40) if moments(hidden, "inside")}
    assert inside == set(range(8, 21))  # then the window moves on before it should be back
    assert {hidden for hidden in range(1, 40) if moments(hidden, "beyond")} == set(range(21, 40))
    # A short window forgets the last sight before the block in which it should come back.
    short = Memory(window=4, block=2, frames_per_latent=4)
    assert {hidden for hidden in range(1, 40) if moments(hidden, "inside", short)} == set(range(8, 16))
    assert moments(8, "inside", whole=0.03) is None  # less than seven tenths of it is ever seen
    assert moments(8, "inside", Memory(window=2, block=2, frames_per_latent=4)) is None


def test_groups_are_those_that_the_world_can_tell():
    assert measured_groups(MEMORY, FPS) == ("inside", "beyond")
    assert measured_groups(Memory(window=13, block=4, frames_per_latent=4), 12.0) == ("inside",)


@pytest.mark.parametrize("group", ["inside", "beyond"])
def test_cases_hide_what_they_say_and_say_no_colour(group):
    maker = pretend_maker(lambda *given: None, memory=MEMORY)
    cases = list(find_cases(maker, group, 2, 1, torch.device("cpu")))
    again = list(find_cases(maker, group, 1, 1, torch.device("cpu")))
    assert [case.drawn.hidden_by for case in cases] == ["view", "object"]
    assert again[0].prompt == cases[0].prompt and again[0].frames.equal(cases[0].frames)
    for case in cases:
        item, moments = case.drawn.scene.objects[case.drawn.number], case.moments
        named = parse_prompt(case.prompt)["objects"]
        assert [one["colour"] is None for one in named] == [one["shape"] == item.shape for one in named]
        assert len(case.given) == moments.handed_over - moments.first
        assert len(case.truth) == moments.end - moments.handed_over
        assert case.start < moments.hidden  # its last sight can be shown
        times = torch.arange(case.start, moments.end) / FPS
        position = module.simulate([case.drawn.scene], times).position[0]
        shown = module.render_scene(case.drawn.scene, position, times, 32, 32)
        assert (shown.frames.int() - case.frames.int()).abs().float().mean() < 1  # the same scene, drawn by itself
        share = shown_shares(shown.object_index, 2)[:, case.drawn.number]
        assert not share[moments.hidden - case.start : moments.back - case.start].any()
        assert share[moments.hidden - 1 - case.start] and share[moments.back - case.start]


def test_a_memory_that_no_scene_fits_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_MOST_DRAWN", 4)
    monkeypatch.setattr(module, "_BATCH", 4)
    maker = pretend_maker(lambda *given: None, memory=Memory(window=2, block=2, frames_per_latent=4))
    with pytest.raises(UsageError, match="window of 2 latent frames at 8 fps: leave out --identity"):
        next(find_cases(maker, "inside", 1, 0, torch.device("cpu")))
