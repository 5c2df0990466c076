"""Fitting a user's video: nearest rates and sizes against trying all, and gaps that come out even."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.pipelines.fit_video import aspect_change, bridge_frames, fit_video, given_frames

MODEL = {"trained_fps": 12.0, "trained_size": (128, 128), "unit": (32, 32)}


@pytest.mark.parametrize(
    ("fps", "stride"),
    [(12, 1), (8, 1), (1, 1), (15, 1), (24, 2), (25, 2), (23.976, 2), (30, 3), (50, 4), (60, 5), (120, 10), (18, 2)],
)
def test_the_part_of_a_rate_that_is_nearest(fps, stride):
    fitted = fit_video(fps=fps, height=720, width=1280, **MODEL)
    assert (fitted.stride, fitted.fps) == (stride, pytest.approx(fps / stride))


@given(fps=st.floats(0.5, 1000), trained=st.floats(4, 60))
def test_no_other_part_is_nearer(fps, trained):
    fitted = fit_video(fps=fps, height=64, width=64, **{**MODEL, "trained_fps": trained})
    off = abs(math.log(fitted.fps / trained))
    assert all(off <= abs(math.log(fps / n / trained)) + 1e-9 for n in range(1, 600))


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((128, 128), (128, 128)),
        ((720, 1280), (96, 160)),
        ((1280, 720), (160, 96)),
        ((1, 1), (128, 128)),
        ((480, 640), (96, 128)),
    ],
)
def test_sizes(size, fitted):
    found = fit_video(fps=12, height=size[0], width=size[1], **MODEL)
    assert found.size == fitted
    assert aspect_change(found, size) == pytest.approx(fitted[1] / fitted[0] * size[0] / size[1])


@given(height=st.integers(1, 4000), width=st.integers(1, 4000))
def test_sizes_can_be_made(height, width):
    high, wide = fit_video(fps=12, height=height, width=width, **MODEL).size
    assert high % 32 == wide % 32 == 0 and min(high, wide) >= 32 and max(high, wide) <= 256
    if 0.6 < width / height < 1.7:
        assert 0.5 <= high * wide / 128**2 <= 2


@given(wanted=st.integers(1, 500), stride=st.integers(1, 6), step=st.sampled_from([1, 4, 8]))
def test_gaps_between_two_ends_are_whole_latents(wanted, stride, step):
    found = bridge_frames(wanted, stride, step)
    # Frames of the model's rate lie stride apart, the first stride after one edge, the last stride before the other.
    made = (found + 1) // stride - 1
    assert (made + 1) * stride == found + 1 and made % step == 0 and made >= step
    assert abs(found - wanted) <= stride * step / 2 or made == step


@given(available=st.integers(1, 400), stride=st.integers(1, 6), most=st.integers(1, 9))
def test_what_is_shown_is_there(available, stride, most):
    count = given_frames(available, stride, 4, most)
    assert (count - 1) % 4 == 0 and 1 <= count <= 4 * most - 3
    assert (count - 1) * stride + 1 <= available
    assert count == 4 * most - 3 or (count + 3) * stride + 1 > available
