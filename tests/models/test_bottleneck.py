"""What stands between encoder and decoder in training: latents, what they cost, and figures, against their parts."""

import math

import pytest
import torch

from soracli.models.bottleneck import gaussian, quantised
from soracli.models.config import QuantiserConfig, with_quantiser
from soracli.models.quantised_vae import QuantisedVAE, build_vae
from soracli.models.quantisers import lfq_entropies
from soracli.models.vae_loss import kl_divergence, posterior_sample
from tests.models.tiny import VAE


def vae_with(**quantiser) -> QuantisedVAE:
    vae = build_vae(with_quantiser(VAE, QuantiserConfig(**quantiser)))
    assert isinstance(vae, QuantisedVAE)
    return vae


def test_gaussian_draws_and_pays_divergence():
    mean, log_variance, noise = torch.randn(3, 2, 4, 3, 2, 2)
    passed = gaussian(mean, log_variance, noise, 0.25)
    assert torch.equal(passed.latents, posterior_sample(mean, log_variance, noise))
    torch.testing.assert_close(passed.loss, 0.25 * kl_divergence(mean, log_variance))
    assert passed.figures == {"kl": kl_divergence(mean, log_variance)}


def test_fsq_pays_nothing():
    values = torch.randn(2, 2, 3, 4, 4, requires_grad=True)
    passed = quantised(vae_with(kind="fsq", levels=(5, 4)), values, lambda mean: mean)
    assert float(passed.loss) == 0 and passed.figures.keys() == {"perplexity"}
    assert set(passed.latents.detach()[:, 0].unique().tolist()) <= {-1, -0.5, 0, 0.5, 1}
    passed.latents.sum().backward()
    assert values.grad is not None and bool((values.grad != 0).any())


def test_lfq_pays_entropy_and_commitment():
    values = torch.randn(2, 6, 3, 4, 4)
    seen = []
    vae = vae_with(kind="lfq", num_bits=6, entropy=0.3, commitment=0.7, temperature=2.0, group_bits=4)
    passed = quantised(vae, values, lambda mean: seen.append(len(mean)) or mean)
    unsure, used = lfq_entropies(values.movedim(1, -1), 2.0, 4)
    distance = (values.abs() - 1).square().mean()
    torch.testing.assert_close(passed.loss, 0.3 * (unsure - used) + 0.7 * distance)
    names = ("code_entropy", "codebook_entropy", "commitment")
    assert [float(passed.figures[name]) for name in names] == pytest.approx(
        [float(unsure), float(used), float(distance)]
    )
    assert seen == [16, 4]


def test_perplexity_counts_codes():
    vae = vae_with(kind="lfq", num_bits=2)
    values = torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, 1.0, 1.0, -1.0]]).view(1, 2, 1, 2, 2)
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)  # one code twice, two codes once
    found = quantised(vae, values, lambda mean: mean).figures["perplexity"]
    assert float(found) == pytest.approx(math.exp(entropy))
    nan = quantised(vae, values * math.nan, lambda mean: mean)  # left to the optimiser's guard
    assert bool(nan.latents.isnan().all()) and bool(nan.loss.isnan())
