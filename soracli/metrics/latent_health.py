"""Whether latents are good to learn from: their scale, what channels share, their spectrum, channels that say nothing.

Axes: C channels, T latent frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.metrics.spectrum import band_shares, cosine_power, noise_shares, spectral_slope

DEAD_STD = 0.01
"""A channel is dead when its deviation is below this share of the largest channel's ..."""
DEAD_NOISE = 0.9
"""... or when the posterior's variance is more than this share of all variance a decoder sees in training: whatever the
input, the channel holds about the same distribution, as the prior does."""
_ROUNDING = 1e-6
"""A deviation below this share of the largest number is none at all."""


@dataclass(frozen=True, kw_only=True)
class ChannelHealth:
    """One channel.

    Attributes:
        mean: Of the latents as diffusion sees them; 0 where ``LatentSpec`` fits these clips.
        std: Likewise; 1 where it fits.
        raw_std: Deviation of the latents as the encoder gives them.
        noise: Mean variance of the posterior, as a share of that plus ``raw_std`` squared: 0 is certain, 1 says
            nothing. None for a code without a posterior.
        correlation: Largest absolute correlation with another channel.
        high: Share of energy above half the highest spatial frequency.
        change: Mean squared change from one latent frame to the next, over twice the variance: 0 stands still, 1 is
            unrelated. The first latent frame, which holds one frame, is left out. None when no clip has three.
        dead: Whether it says nothing: see ``DEAD_STD`` and ``DEAD_NOISE``.
    """

    mean: float
    std: float
    raw_std: float
    noise: float | None
    correlation: float
    high: float
    change: float | None
    dead: bool


@dataclass(frozen=True, kw_only=True)
class LatentHealth:
    """All channels together.

    Attributes:
        channels: One by one.
        dead: How many are dead.
        correlation: Largest absolute correlation between two channels.
        effective_channels: Participation ratio of the eigenvalues of the matrix of correlations, 1 to C: how many
            channels of equal weight would be as spread (C when none are correlated).
        bands: Share of energy in ``spectrum.BANDS``, mean over channels.
        noise_bands: The same of white noise.
        slope: Of the power over frequency, both as logarithms: ``spectral_slope``.
        change: Mean over channels.
        noise: Mean over channels.
    """

    channels: tuple[ChannelHealth, ...]
    dead: int
    correlation: float
    effective_channels: float
    bands: tuple[float, ...]
    noise_bands: tuple[float, ...]
    slope: float
    change: float | None
    noise: float | None


def latent_health(
    latents: Sequence[Tensor],
    variances: Sequence[Tensor] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> LatentHealth:
    """Figures over all latents of some clips.

    Correlations, spectrum and change do not depend on the scale of a channel, and every channel weighs alike in means,
    as it does in latents that are normalised. Channels without any variance are left out there.

    Args:
        latents: Raw latents ``(C, T, H, W)`` of each clip: the posterior's means. T may differ.
        variances: The posterior's variances, as many; None for a code that has none.
        mean: Per-channel mean that is subtracted before diffusion sees latents; None takes the clips' own.
        std: Per-channel deviation that they are divided by; None takes the clips' own.

    Raises:
        ValueError: If there are no latents, or shapes differ in other than T.
    """
    if len({(tensor.shape[0], *tensor.shape[2:]) for tensor in latents}) != 1 or latents[0].ndim != 4:
        raise ValueError(f"need latents (C, T, H, W) of one C, H and W, got {[tuple(x.shape) for x in latents]}")
    values = torch.cat([tensor.double().cpu() for tensor in latents], 1)  # (C, T of all, H, W)
    own_mean, own_std = values.mean((1, 2, 3)), values.std((1, 2, 3), correction=0)
    centre = own_mean if mean is None else torch.tensor(mean, dtype=torch.float64)
    scale = own_std if std is None else torch.tensor(std, dtype=torch.float64)
    alive = own_std > _ROUNDING * values.abs().max()
    normal = (values - own_mean[:, None, None, None]) / own_std.where(alive, torch.inf)[:, None, None, None]

    correlation = normal.flatten(1) @ normal.flatten(1).T / normal[0].numel()  # (C, C), 0 for channels without variance
    among = correlation[alive][:, alive]
    others = (correlation - torch.diag(correlation.diagonal())).abs().amax(1)
    power = cosine_power(normal)
    shares = band_shares(power)
    change = _change(latents, own_std)
    noise = None if variances is None else _noise(variances, own_std)
    dead = ~alive | (own_std < DEAD_STD * own_std.max())
    if noise is not None:
        dead = dead | (noise > DEAD_NOISE)
    ratio = (own_std / scale).where(scale > 0, 0)
    offset = ((own_mean - centre) / scale).where(scale > 0, 0)
    channels = tuple(
        ChannelHealth(
            mean=float(offset[c]),
            std=float(ratio[c]),
            raw_std=float(own_std[c]),
            noise=None if noise is None else float(noise[c]),
            correlation=float(others[c]),
            high=float(shares[c, -1].nan_to_num()),
            change=None if change is None else float(change[c]),
            dead=bool(dead[c]),
        )
        for c in range(len(own_std))
    )
    return LatentHealth(
        channels=channels,
        dead=int(dead.sum()),
        correlation=float(others.max()),
        effective_channels=float(among.trace() ** 2 / among.square().sum()) if bool(alive.any()) else 0.0,
        bands=tuple(shares[alive].mean(0).nan_to_num().tolist()),
        noise_bands=tuple(noise_shares(*power.shape[1:]).tolist()),
        slope=spectral_slope(power[alive].mean(0)),
        change=None if change is None or not bool(alive.any()) else float(change[alive].mean()),
        noise=None if noise is None else float(noise.mean()),
    )


def health_protocol() -> str:
    """What the figures are, for people."""
    return (
        "over all latents of a set; mean and std after the model's own normalisation; noise: the posterior's variance "
        "as a share of all; r: largest correlation between two channels; effective: participation ratio of the "
        "eigenvalues of the correlations; energy: shares of frequencies of the cosine transform, up to a quarter, a "
        "half and all of a row's or column's highest; slope: of log power over log frequency; change: mean squared "
        "change between latent frames after the first, over twice the variance (0 stands still, 1 unrelated); dead: a "
        f"deviation under {DEAD_STD:.0%} of the largest channel's, or noise above {DEAD_NOISE:.0%}; channels without "
        "any variance are left out of what is not about scale"
    )


def _change(latents: Sequence[Tensor], std: Tensor) -> Tensor | None:
    steps = [tensor[:, 1:].double().cpu().diff(dim=1) for tensor in latents if tensor.shape[1] > 2]
    if not steps:
        return None
    squares = torch.cat(steps, 1).square().mean((1, 2, 3))
    return (squares / (2 * std.square())).where(std > 0, 0)


def _noise(variances: Sequence[Tensor], std: Tensor) -> Tensor:
    mean = torch.cat([tensor.double().cpu() for tensor in variances], 1).mean((1, 2, 3))
    whole = mean + std.square()
    return (mean / whole).where(whole > 0, 1)
