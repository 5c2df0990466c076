"""Gaps: every latent once, at the times of the frames it holds, what is given first and what is made next to it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.core.latent_spec import LatentSpec
from soracli.diffusion.options import SamplingOptions
from soracli.pipelines.blocks import always, gap_blocks

FPS = 8.0
SPEC = LatentSpec(channels=2, compression=(4, 8, 8), mean=(0.0, 0.0), std=(1.0, 1.0), vae_hash="x")
OPTIONS = SamplingOptions(first_block=3, block=2, sink=2)


def latents(count: int, first: float = 0.0) -> torch.Tensor | None:
    """Latents that say which they are."""
    return None if not count else (first + torch.arange(count)).view(1, count, 1, 1).expand(2, count, 3, 3)


@settings(max_examples=200)
@given(before=st.integers(0, 7), made=st.integers(1, 9), after=st.integers(0, 5), sink=st.integers(0, 4))
def test_every_latent_once(before, made, after, sink):
    options = SamplingOptions(first_block=3, block=2, sink=sink)
    ends = latents(before), latents(after, 100)
    blocks = gap_blocks(SPEC, always("x"), options, fps=FPS, num_latents=made, before=ends[0], after=ends[1])
    seconds = torch.cat([block.seconds for block in blocks])
    assert len(seconds) == before + made + after == len(set(seconds.tolist()))
    is_made = [block.given is None for block in blocks]
    assert is_made == sorted(is_made) and sum(len(block.seconds) for block in blocks if block.given is None) == made
    shown = [float(value) for block in blocks if block.given is not None for value in block.given[0, :, 0, 0]]
    assert shown == [*range(before), *range(100, 100 + after)]
    # In the order of time: a stretch of before and made, and one of what comes after.
    order = seconds.argsort()
    expected = SPEC.latent_times(before + made, FPS)
    expected += SPEC.latent_times(after, FPS, start=SPEC.video_frames(before + made) / FPS) if after else []
    torch.testing.assert_close(seconds[order], torch.tensor(expected))
    single = torch.cat([block.one_frame for block in blocks])[order].nonzero()[:, 0].tolist()
    assert single == ([0, before + made] if after else [0])
    for block in blocks:
        if block.given is None:  # neighbours in time
            assert float(block.seconds.max() - block.seconds.min()) <= options.first_block * 4 / FPS


def test_towards_what_is_given_after():
    blocks = gap_blocks(SPEC, always("x"), OPTIONS, fps=FPS, num_latents=5, after=latents(3))
    assert [len(block.seconds) for block in blocks] == [3, 2, 2, 1]
    assert [float(block.seconds.max()) for block in blocks[1:]] == sorted(
        (float(block.seconds.max()) for block in blocks[1:]), reverse=True
    )
    assert float(blocks[-1].seconds[0]) == 0 and bool(blocks[-1].one_frame[0])
    assert blocks[0].pinned.tolist() == [True, True, False]  # next to the gap: what was read first
    assert not any(bool(block.pinned.any()) for block in blocks[1:])


def test_between_all_that_is_given_is_read_at_once():
    first, *made = gap_blocks(SPEC, always("x"), OPTIONS, fps=FPS, num_latents=4, before=latents(4), after=latents(2))
    assert len(first.seconds) == 6 and [len(block.seconds) for block in made] == [2, 2]
    assert first.pinned.tolist() == [True, True, False, False, True, True]  # looks, and where all runs to
    assert float(first.seconds[4]) > float(made[-1].seconds.max())


def test_after_the_beginning_as_if_it_had_been_made():
    blocks = gap_blocks(SPEC, always("x"), OPTIONS, fps=FPS, num_latents=4, before=latents(5))
    assert [(len(block.seconds), block.given is None) for block in blocks] == [
        (3, False),
        (2, False),
        (2, True),
        (2, True),
    ]


def test_the_prompt_is_asked_for_at_the_second_of_each_latent():
    """Counted from where the gap begins, whatever is given before; a block is made in parts where it changes."""
    for before in (None, latents(3)):
        blocks = gap_blocks(SPEC, lambda second: f"{second:.3f}", OPTIONS, fps=FPS, num_latents=6, before=before)
        made = [block.prompt for block in blocks if block.given is None]
        if before is None:
            assert made == [f"{second:.3f}" for second in SPEC.latent_times(6, FPS)]
        else:
            assert made == [f"{(number * 4 + 1.5) / FPS:.3f}" for number in range(6)]
        assert sum(block.given is not None for block in blocks) == (0 if before is None else 1)


@given(cut=st.floats(0, 5), sides=st.sampled_from(["none", "before", "after", "both"]))
def test_a_block_has_one_prompt_and_no_scene_is_skipped(cut, sides):
    before = latents(3) if sides in ("before", "both") else None
    after = latents(2, 100) if sides in ("after", "both") else None
    whole, cuts = (
        gap_blocks(SPEC, shown, OPTIONS, fps=FPS, num_latents=10, before=before, after=after)
        for shown in (always("a"), lambda second: "a" if second < cut else "b")
    )
    begins = SPEC.video_frames(3) / FPS if before is not None else 0.0
    for block in cuts:
        if block.given is None:
            assert {"a" if second - begins < cut else "b" for second in block.seconds.tolist()} == {block.prompt}
    assert len(cuts) - len(whole) <= 1
    seconds = [torch.cat([block.seconds for block in blocks]).sort().values for blocks in (whole, cuts)]
    torch.testing.assert_close(*seconds)
    if sides == "after":  # made towards the beginning, block after block and part after part
        starts = [float(block.seconds[0]) for block in cuts if block.given is None]
        assert starts == sorted(starts, reverse=True)
