"""Flicker: against a loop over places, on a known shimmer, and where nothing can be said."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from soracli.metrics.flicker import LEAST_SHARE, STILL_LEVELS, flicker


def _noisy(seed: int, num_frames: int, levels: int) -> Tensor:
    """A still picture with noise of so many 8-bit levels in every frame."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.randint(30, 200, (1, 6, 8, 3), generator=generator)
    return (picture + torch.randint(0, levels + 1, (num_frames, 6, 8, 3), generator=generator)).to(torch.uint8)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), num_frames=st.integers(2, 5), levels=st.integers(2, 5))
def test_figures_equal_a_loop_over_places(seed: int, num_frames: int, levels: int) -> None:
    frames, decoded = _noisy(seed, num_frames, levels), _noisy(seed + 1, num_frames, 9)
    ours, theirs, places = [], [], 0
    for t in range(num_frames - 1):
        for y in range(6):
            for x in range(8):
                own = [abs(int(frames[t + 1, y, x, c]) - int(frames[t, y, x, c])) for c in range(3)]
                places += 1
                if max(own) <= STILL_LEVELS:
                    theirs += own
                    ours += [abs(int(decoded[t + 1, y, x, c]) - int(decoded[t, y, x, c])) for c in range(3)]
    found = flicker(decoded, frames)
    if len(ours) / 3 / places < LEAST_SHARE:
        assert found is None
        return
    assert found is not None
    assert found.decoded == pytest.approx(sum(ours) / len(ours))
    assert found.original == pytest.approx(sum(theirs) / len(theirs))
    assert found.still == pytest.approx(len(ours) / 3 / places)


def test_a_shimmer_is_seen_and_motion_is_not() -> None:
    frames = torch.full((5, 8, 8, 3), 100, dtype=torch.uint8)
    for t in range(5):
        frames[t, 2:4, t : t + 2] = 250
    decoded = frames.clone()
    assert flicker(decoded, frames) == flicker(frames, frames)
    decoded[:, 2:4] //= 2  # what moves there is wrong, but stands still where nothing moves
    found = flicker(decoded, frames)
    assert found is not None and found.decoded == found.original == 0
    decoded[1::2, 6:] += 3
    found = flicker(decoded, frames)
    assert found is not None and found.decoded == pytest.approx(3 * 2 * 8 * 4 / (4 * (64 - 4)), rel=0.02)


def test_nothing_is_said_without_a_still_place() -> None:
    frames = torch.full((3, 20, 20, 3), 100, dtype=torch.uint8)
    assert flicker(frames[:1], frames[:1]) is None
    frames[1] = 200
    assert flicker(frames, frames) is None
    frames[1, 0, :3] = 100  # 3 of 400 places
    assert flicker(frames, frames) is None
    frames[1, 0, :4] = 100
    assert flicker(frames, frames) is not None


def test_misfits_are_refused() -> None:
    frames = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="two videos"):
        flicker(frames, frames[:1])
    with pytest.raises(ValueError, match="two videos"):
        flicker(frames[..., :1], frames[..., :1])
