"""Health of latents: channels whose scale, correlation, spectrum, change and silence are known by construction."""

import pytest
import torch
from torch import Tensor

from soracli.metrics.latent_health import DEAD_NOISE, DEAD_STD, LatentHealth, latent_health


def _noise(seed: int, channels: int = 4, num_frames: int = 50, side: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((channels, num_frames, side, side), generator=generator, dtype=torch.float64)


def test_scale_is_told_beside_the_models_own() -> None:
    clips = [_noise(0, num_frames=3) * 2 + 5, _noise(1, num_frames=7) * 2 + 5]
    values = torch.cat([clip.flatten(1) for clip in clips], 1)
    found = latent_health(clips, mean=[4.0] * 4, std=[1.0, 2.0, 4.0, 8.0])
    for c, (one, std) in enumerate(zip(found.channels, (1, 2, 4, 8), strict=True)):
        assert one.raw_std == pytest.approx(float(values[c].std(correction=0)))
        assert one.std == pytest.approx(one.raw_std / std)
        assert one.mean == pytest.approx(float(values[c].mean() - 4) / std)
        assert one.noise is None
    own = latent_health(clips)
    assert all(one.std == pytest.approx(1) and one.mean == pytest.approx(0) for one in own.channels)
    assert found.noise is None and found.dead == 0


def test_correlations_against_torchs_matrix() -> None:
    clip = _noise(2)
    clip[1] = 0.6 * clip[0] + 0.8 * clip[1]
    clip[2] = -3 * clip[3]
    found = latent_health([clip])
    table = torch.corrcoef(clip.flatten(1))
    others = (table - torch.eye(4)).abs()
    assert [one.correlation for one in found.channels] == pytest.approx(others.amax(1).tolist())
    assert found.correlation == pytest.approx(1) and found.channels[0].correlation == pytest.approx(0.6, abs=0.05)
    values = torch.linalg.eigvalsh(table)
    assert found.effective_channels == pytest.approx(float(values.sum() ** 2 / values.square().sum()))


@pytest.mark.parametrize(("copies", "effective"), [(1, 1), (2, 2), (4, 4)])
def test_effective_channels_count_what_differs(copies: int, effective: int) -> None:
    clip = _noise(3, num_frames=400)[torch.arange(4) % copies] * torch.tensor([1.0, -20, 3, 0.1])[:, None, None, None]
    assert latent_health([clip]).effective_channels == pytest.approx(effective, rel=0.01)


def test_spectrum_and_change_do_not_depend_on_scale() -> None:
    walk = _noise(4).cumsum(1) / 5
    scaled = walk * torch.tensor([1.0, 10, 0.1, 5])[:, None, None, None] + 7

    def shape(health: LatentHealth) -> tuple[float, ...]:
        assert health.change is not None
        return (health.slope, health.change, *health.bands, health.effective_channels, health.correlation)

    assert shape(latent_health([scaled])) == pytest.approx(shape(latent_health([walk])), rel=1e-6)


def test_change_is_0_at_rest_1_without_memory_and_more_for_what_alternates() -> None:
    still = _noise(5, num_frames=1).expand(-1, 6, -1, -1)
    restless = _noise(6)
    turns = torch.ones(4, 6, 8, 8, dtype=torch.float64) * torch.tensor([1.0, -1] * 3)[:, None, None]
    assert latent_health([still]).change == pytest.approx(0)
    assert latent_health([restless]).change == pytest.approx(1, abs=0.05)
    assert latent_health([turns]).change == pytest.approx(2)
    jump = still.clone()
    jump[:, 0] += 100  # the first latent holds one frame and is left out
    assert latent_health([jump]).change == pytest.approx(0)
    assert latent_health([still[:, :2], still[:, :1]]).change is None


def test_energy_is_found_where_it_is() -> None:
    flat = _noise(7, side=1).expand(-1, -1, 8, 8)
    found = latent_health([flat])
    assert found.bands == pytest.approx((1, 0, 0, 0), abs=1e-9) and found.channels[0].high == pytest.approx(0)
    checked = flat * (1 - 2 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2))
    assert latent_health([checked]).channels[0].high > 0.95
    white = latent_health([_noise(8)])
    assert white.bands == pytest.approx(white.noise_bands, abs=0.02)


def test_dead_channels_are_named() -> None:
    clip = _noise(9)
    clip[1] *= 0.9 * DEAD_STD
    clip[2] = 0.1  # its mean is no exact number, so rounding alone would leave a deviation
    variances = torch.full_like(clip, 0.01)
    variances[3] = 1 / (1 / DEAD_NOISE - 1) * 1.2
    found = latent_health([clip], [variances])
    assert [one.dead for one in found.channels] == [False, True, True, True] and found.dead == 3
    assert found.channels[0].noise == pytest.approx(0.01 / (0.01 + float(clip[0].var(correction=0))))
    assert found.channels[2].noise == pytest.approx(1) and found.channels[2].correlation == 0
    assert found.effective_channels == pytest.approx(3, rel=0.05)  # the channel without variance is left out
    variances[3] *= 0.7
    assert [one.dead for one in latent_health([clip], [variances]).channels] == [False, True, True, False]


def test_latents_that_are_all_alike_have_no_figures_and_break_nothing() -> None:
    found = latent_health([torch.full((2, 4, 8, 8), 0.1)], [torch.full((2, 4, 8, 8), 1.0)])
    assert found.dead == 2 and found.effective_channels == 0 and found.change is None


def test_misfits_are_refused() -> None:
    for latents in ([], [torch.zeros(4, 8, 8)], [torch.zeros(4, 1, 8, 8), torch.zeros(4, 1, 8, 4)]):
        with pytest.raises(ValueError, match="latents"):
            latent_health(latents)
