"""Frames evenly from the first to the last: against all frames, of excerpts too, which begin where they should."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import DataError
from soracli.data.even_frames import even_frames, even_numbers
from soracli.data.manifest import read_manifest
from soracli.data.video_read import read_frames
from tests.data.clips import FPS, make_clip, make_manifest


@given(num_frames=st.integers(1, 500), wanted=st.integers(1, 40))
def test_first_last_and_evenly_between(num_frames, wanted):
    numbers = even_numbers(num_frames, wanted)
    assert len(numbers) == len(set(numbers)) == min(num_frames, wanted) and numbers == sorted(numbers)
    assert numbers[0] == 0 and (wanted == 1 or numbers[-1] == num_frames - 1)
    gaps = np.diff(numbers)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("start", "count"), [(0, 9), (3, 6), (2, 1)])
def test_they_are_frames_of_the_clip(tmp_path, start, count):
    whole = make_clip(tmp_path, "clip.webp", 9)
    clip = replace(whole, start=start / FPS, num_frames=count, seconds=count / FPS)
    manifest = read_manifest(make_manifest(tmp_path, clip))
    everything = read_frames(tmp_path / "clip.webp", num_frames=9, fps=FPS, size=(16, 16))
    frames, times = even_frames(manifest, clip, 4, size=(16, 16), background=(0, 0, 0))
    numbers = even_numbers(count, 4)
    assert np.array_equal(frames, everything[start:][numbers])
    assert times == pytest.approx([number / FPS for number in numbers])


def test_a_broken_clip_is_named(tmp_path):
    clip = make_clip(tmp_path, "clip.webp", 9)
    manifest = read_manifest(make_manifest(tmp_path, clip))
    (tmp_path / "clip.webp").write_bytes(b"RIFF....")
    with pytest.raises(DataError, match=r"clip\.webp"):
        even_frames(manifest, clip, 4, size=(16, 16), background=None)
