"""Spectra of latents: against the cosine transform written as sums, Parseval, and signals of known colour."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from soracli.metrics.spectrum import BANDS, band_shares, cosine_power, noise_shares, spectral_slope


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_power_equals_the_sums_of_the_definition() -> None:
    latents = _random(0, 2, 3, 4, 5)
    found = cosine_power(latents)
    for u in range(4):
        for v in range(5):
            wave = torch.tensor(
                [
                    [
                        math.cos(math.pi * (2 * y + 1) * u / 8) * math.cos(math.pi * (2 * x + 1) * v / 10)
                        for x in range(5)
                    ]
                    for y in range(4)
                ],
                dtype=torch.float64,
            )
            scale = math.sqrt((1 if u == 0 else 2) / 4) * math.sqrt((1 if v == 0 else 2) / 5)
            expected = (scale * (latents * wave).sum((2, 3))).square().mean(1)
            assert torch.allclose(found[:, u, v], expected)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), height=st.integers(1, 9), width=st.integers(1, 9))
def test_no_energy_is_lost(seed: int, height: int, width: int) -> None:
    latents = _random(seed, 3, 2, height, width)
    power = cosine_power(latents)
    assert torch.allclose(power.sum((1, 2)), latents.square().sum((2, 3)).mean(1))
    shares = band_shares(power)
    assert torch.allclose(shares.sum(-1), torch.ones(3, dtype=torch.float64)) and bool((shares >= 0).all())


def test_waves_fall_into_their_bands() -> None:
    place = torch.arange(16, dtype=torch.float64)
    for frequency, band in ((0, "constant"), (1, "low"), (4, "low"), (5, "middle"), (8, "middle"), (9, "high")):
        wave = torch.cos(math.pi * (2 * place + 1) * frequency / 32)
        for latents in (wave.expand(16, 16), wave[:, None].expand(16, 16)):
            shares = band_shares(cosine_power(latents[None, None]))[0]
            assert shares[BANDS.index(band)] == pytest.approx(1)
    diagonal = torch.cos(math.pi * (2 * place + 1) * 6 / 32)  # 6 of 16 both ways is beyond 8 of 16
    assert band_shares(cosine_power((diagonal * diagonal[:, None])[None, None]))[0, 3] == pytest.approx(1)


def test_white_noise_is_white_and_smoothed_noise_is_not() -> None:
    noise = _random(1, 4, 400, 8, 8)
    shares = band_shares(cosine_power(noise).mean(0))
    assert torch.allclose(shares, noise_shares(8, 8), atol=0.01)
    assert noise_shares(8, 8)[0] == pytest.approx(1 / 64)
    assert spectral_slope(cosine_power(noise).mean(0)) == pytest.approx(0, abs=0.02)
    assert math.isnan(float(band_shares(torch.zeros(8, 8)).sum()))


@pytest.mark.parametrize("slope", [-3.0, -2.0, 0.0, 1.0])
def test_slope_is_that_of_a_power_law(slope: float) -> None:
    down, across = torch.meshgrid(torch.arange(8) / 8, torch.arange(6) / 6, indexing="ij")
    power = 5 * (down**2 + across**2).sqrt().double() ** slope
    power[0, 0] = 1e9  # the mean is no part of it
    assert spectral_slope(power) == pytest.approx(slope, abs=1e-5)


def test_no_slope_without_two_frequencies() -> None:
    assert math.isnan(spectral_slope(torch.ones(1, 1)))
    assert math.isnan(spectral_slope(torch.ones(2, 1)))
    assert math.isnan(spectral_slope(torch.zeros(8, 8)))
