"""Ground and sky colours: patterns that fade to their mean with the footprint, and stay inside the range of colours."""

from __future__ import annotations

import pytest
import torch

from soracli.data.world.grammar import ARENA, GROUNDS, Ground
from soracli.data.world.ground import ground_colour, sky_colour


def patch(kind: Ground, footprint: float, *, half: float = 1.5, count: int = 300) -> torch.Tensor:
    """Colours ``(n, 3)`` of a square inside the kerb."""
    side = torch.linspace(-half, half, count)
    x, z = (values.flatten() for values in torch.meshgrid(side, side, indexing="xy"))
    return torch.stack(ground_colour(kind, (3.0, -7.0), x, z, torch.full_like(x, footprint)), -1)


@pytest.mark.parametrize("kind", GROUNDS)
def test_a_pattern_is_seen_near_and_fades_into_its_mean(kind: Ground) -> None:
    near, far = patch(kind, 0.002), patch(kind, 6.0)
    assert near.min() > 0
    assert near.max() < 1.2
    assert near.std(0).max() > 0.01
    assert far.std(0).max() < 0.15 * near.std(0).max()
    torch.testing.assert_close(far.mean(0), near.mean(0), atol=0.02, rtol=0.1)


def test_a_band_is_averaged_over_the_footprint() -> None:
    """The kerb at a coarse footprint is the mean of the kerb at a fine one."""
    x = torch.linspace(ARENA - 0.5, ARENA + 0.6, 4001)
    z = torch.zeros_like(x)
    fine = ground_colour("snow", (0.0, 0.0), x, z, torch.full_like(x, 1e-3))[0]
    middle = (x > ARENA + 0.05 - 0.2) & (x < ARENA + 0.05 + 0.2)
    place = torch.tensor([ARENA + 0.05])
    coarse = ground_colour("snow", (0.0, 0.0), place, torch.zeros(1), torch.tensor([0.4]))[0]
    torch.testing.assert_close(coarse[0], fine[middle].mean(), atol=0.01, rtol=0)
    assert fine[(x > ARENA + 0.02) & (x < ARENA + 0.08)].max() < 0.8 * fine[x < ARENA - 0.05].min()


def test_the_sky_is_bluer_above_and_paler_when_warm() -> None:
    up = torch.tensor([0.0, 0.3, 1.0])
    clear, pale = (torch.stack(sky_colour(warmth, up), -1) for warmth in (0.0, 1.0))
    assert ((clear[:, 2] - clear[:, 0]).diff() > 0).all()
    assert (pale[:, 0] > clear[:, 0]).all()
    assert torch.stack([clear, pale]).min() >= 0
    assert torch.stack([clear, pale]).max() <= 1
