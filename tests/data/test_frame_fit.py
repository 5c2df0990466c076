"""Placements by their properties for all sizes: what is covered, how far the aspect gives, where the centre lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.frame_fit import place_frame

SIDES = st.integers(1, 2000)


@given(SIDES, SIDES, SIDES, SIDES)
def test_crop_covers_and_pad_fits(height: int, width: int, to_height: int, to_width: int) -> None:
    crop = place_frame(height, width, (to_height, to_width), "crop")
    assert crop.scaled[0] >= to_height
    assert crop.scaled[1] >= to_width
    assert crop.scaled[0] == to_height or crop.scaled[1] == to_width
    pad = place_frame(height, width, (to_height, to_width), "pad")
    assert 1 <= pad.scaled[0] <= to_height
    assert 1 <= pad.scaled[1] <= to_width
    assert pad.scaled[0] == to_height or pad.scaled[1] == to_width
    for place in (crop, pad):
        for scaled, final, offset in zip(place.scaled, place.size, place.offset, strict=True):
            assert abs((scaled - final) / 2 - offset) <= 0.5


@given(SIDES, SIDES, st.sampled_from(["crop", "pad", "stretch"]))
def test_the_same_size_changes_nothing(height: int, width: int, fit: str) -> None:
    for size in (None, (height, width)):
        place = place_frame(height, width, size, fit)  # type: ignore[arg-type]
        assert place.scaled == place.size == (height, width)
        assert place.offset == (0, 0)


@pytest.mark.parametrize(("fit", "scaled"), [("crop", (64, 114)), ("pad", (36, 64)), ("stretch", (64, 64))])
def test_an_example(fit: str, scaled: tuple[int, int]) -> None:
    assert place_frame(1080, 1920, (64, 64), fit).scaled == scaled  # type: ignore[arg-type]
