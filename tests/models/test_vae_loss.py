"""What the VAE pays, against torch's distributions, sums written out, and figures known beforehand."""

import pytest
import torch
from torch.distributions import Normal, kl

from soracli.models.vae_loss import emphasis_weights, kl_divergence, posterior_sample, psnr, reconstruction_loss
from tests.models.tiny import random_frames


def test_divergence_is_torchs():
    mean, log_variance = torch.randn(2, 4, 3, 2, 2), torch.randn(2, 4, 3, 2, 2)
    theirs = kl.kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.tensor(0.0), torch.tensor(1.0)))
    torch.testing.assert_close(kl_divergence(mean, log_variance), theirs.mean())
    assert float(kl_divergence(torch.zeros(3), torch.zeros(3))) == 0


def test_samples_have_the_mean_and_deviation_asked_for():
    drawn = posterior_sample(torch.full((20_000,), 3.0), torch.full((20_000,), 2.0), torch.randn(20_000))
    assert float(drawn.mean()) == pytest.approx(3, abs=0.1)
    assert float(drawn.var().log()) == pytest.approx(2, abs=0.05)


def test_emphasis():
    frames = random_frames(2, 3, 4, 6, 5)
    weights = emphasis_weights(frames, 4.0)
    assert weights.shape == (2, 1, 4, 6, 5)
    torch.testing.assert_close(weights.mean((3, 4)), torch.ones(2, 1, 4))
    assert torch.equal(emphasis_weights(frames, 0.0), torch.ones(2, 1, 4, 6, 5))
    flat = torch.zeros(1, 3, 1, 4, 4)
    flat[..., 1, 2] = 1.0
    assert emphasis_weights(flat, 4.0)[0, 0, 0].argmax() == 1 * 4 + 2


def test_reconstruction_is_the_sum_written_out():
    decoded, frames = random_frames(1, 3, 2, 3, 4), random_frames(1, 3, 2, 3, 4, seed=1)
    weights = emphasis_weights(frames, 2.0)
    l1, gradient = reconstruction_loss(decoded, frames, weights)
    error, weight = (decoded - frames)[0], weights[0, 0]
    expected, across, down = [], [], []
    for c in range(3):
        for t in range(2):
            for y in range(3):
                for x in range(4):
                    here = error[c, t, y, x]
                    expected.append(abs(here) * weight[t, y, x])
                    if x:
                        across.append(abs(here - error[c, t, y, x - 1]) * weight[t, y, x])
                    if y:
                        down.append(abs(here - error[c, t, y - 1, x]) * weight[t, y, x])
    torch.testing.assert_close(l1, torch.stack(expected).mean())
    torch.testing.assert_close(gradient, torch.stack(across).mean() + torch.stack(down).mean())
    assert [float(part) for part in reconstruction_loss(frames, frames, weights)] == [0, 0]


def test_psnr_of_known_errors():
    frames = torch.zeros(1, 3, 1, 4, 4)
    assert float(psnr(frames + 0.2, frames)) == pytest.approx(20)  # a tenth of the range
    assert float(psnr(frames + 2, frames)) == pytest.approx(0, abs=1e-5)  # black for white
