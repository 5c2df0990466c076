"""Composition over random backgrounds: against Pillow's alpha composite, and its promises about masks and seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from soracli.data.compose import compose_over_random, random_background


def _cutout(seed: int, shape: tuple[int, int, int] = (3, 12, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 4), np.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_equals_pillow_over_the_same_background(seed: int) -> None:
    rgba = _cutout(seed)
    frames, mask = compose_over_random(rgba, seed)
    background = Image.fromarray(random_background(12, 20, seed)).convert("RGBA")
    for k in range(len(rgba)):
        expected = np.asarray(Image.alpha_composite(background, Image.fromarray(rgba[k])).convert("RGB"))
        assert np.abs(frames[k].astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(mask, rgba[..., 3] / 255 > 0.5)


def test_transparent_parts_show_the_background_and_opaque_parts_the_clip() -> None:
    rgba = _cutout(1)
    rgba[..., 3] = 0
    rgba[:, :6, :, 3] = 255
    frames, mask = compose_over_random(rgba, 5)
    np.testing.assert_array_equal(frames[:, :6], rgba[:, :6, :, :3])
    np.testing.assert_array_equal(frames[2, 6:], random_background(12, 20, 5)[6:])
    assert mask[:, :6].all() and not mask[:, 6:].any()


def test_opaque_clip_is_returned_as_it_is() -> None:
    rgba = _cutout(2)
    rgba[..., 3] = 255
    frames, mask = compose_over_random(rgba, 0)
    np.testing.assert_array_equal(frames, rgba[..., :3])
    assert mask.all()


def test_backgrounds_depend_on_the_seed_alone_and_come_in_all_kinds() -> None:
    pictures = [random_background(16, 24, seed) for seed in range(30)]
    assert all(picture.shape == (16, 24, 3) and picture.dtype == np.uint8 for picture in pictures)
    for seed in (0, 7):
        np.testing.assert_array_equal(random_background(16, 24, seed), pictures[seed])
    flat = sum(np.ptp(picture, axis=(0, 1)).max() == 0 for picture in pictures)
    assert 3 <= flat <= 20
    assert len({picture.tobytes() for picture in pictures}) == 30


@pytest.mark.parametrize("array", [np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 4), np.float32)])
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="need uint8"):
        compose_over_random(array, 0)
