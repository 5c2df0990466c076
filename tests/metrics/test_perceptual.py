"""Distances of features: against a loop over places, and what must hold for all inputs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from soracli.metrics.perceptual import perceptual_distance


def _layers(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((3, 4, 6, 5), (3, 7, 2, 3))]


def test_distance_equals_a_loop_over_places() -> None:
    ours, theirs = _layers(0), _layers(1)
    for picture, found in enumerate(perceptual_distance(ours, theirs).tolist()):
        means = []
        for a, b in zip(ours, theirs, strict=True):
            values = []
            for y in range(a.shape[2]):
                for x in range(a.shape[3]):
                    first, second = a[picture, :, y, x].tolist(), b[picture, :, y, x].tolist()
                    lengths = math.hypot(*first), math.hypot(*second)
                    pairs = zip(first, second, strict=True)
                    values.append(sum((p / lengths[0] - q / lengths[1]) ** 2 for p, q in pairs))
            means.append(sum(values) / len(values))
        assert found == pytest.approx(sum(means) / len(means), rel=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_only_directions_count(seed: int, scale: float) -> None:
    ours, theirs = _layers(seed), _layers(seed + 1)
    found = perceptual_distance(ours, theirs)
    assert torch.allclose(found, perceptual_distance(theirs, ours))
    assert torch.allclose(perceptual_distance([scale * layer for layer in ours], theirs), found, atol=1e-5)
    assert (perceptual_distance(ours, ours) == 0).all()
    opposite = perceptual_distance(ours, [-layer for layer in ours])
    assert torch.allclose(opposite, torch.full((3,), 4.0), atol=1e-4) and (found <= opposite + 1e-4).all()


def test_misfits_are_refused() -> None:
    for ours, theirs in (([], []), (_layers(0), _layers(0)[:1]), (_layers(0), [x[:, :, :1] for x in _layers(0)])):
        with pytest.raises(ValueError, match="the same layers"):
            perceptual_distance(ours, theirs)
