"""What stands between encoder and decoder while a VAE is trained: a draw from a Gaussian, or a quantiser.

Both take what the encoder gives and hand on latents to decode, what is to be paid for them, and figures to log. Axes
as in ``video_vae`` and ``quantised_vae``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.models.quantised_vae import QuantisedVAE
from soracli.models.quantisers import commitment_loss, indices_from_codes, lfq_entropies
from soracli.models.vae_loss import kl_divergence, posterior_sample


@dataclass(frozen=True)
class Passed:
    """What came through.

    Attributes:
        latents: ``(B, C, T', H', W')``, to be decoded.
        loss: One number, weighted, to be added to that of the reconstruction.
        figures: Its parts, unweighted, and others to log, one number each.
    """

    latents: Tensor
    loss: Tensor
    figures: dict[str, Tensor]


def gaussian(mean: Tensor, log_variance: Tensor, noise: Tensor, weight: float) -> Passed:
    """Draw latents, and pay ``weight`` times the divergence from a standard normal."""
    divergence = kl_divergence(mean, log_variance)
    return Passed(posterior_sample(mean, log_variance, noise), weight * divergence, {"kl": divergence})


def quantised(vae: QuantisedVAE, values: Tensor, mean_over_ranks: Callable[[Tensor], Tensor]) -> Passed:
    """Round values to codes; LFQ pays for entropy and commitment, FSQ nothing.

    Args:
        vae: Whose codes; its configuration has the weights of the losses.
        values: ``(B, D, T', H', W')`` float32, of ``vae.encode_values``.
        mean_over_ranks: As of ``lfq_entropies``.

    Returns:
        Codes; figures hold ``perplexity``, of the codes of this batch on this rank (so at most its positions).
    """
    config, codes = vae.config.quantiser, vae.quantise(values)
    figures = {"perplexity": _perplexity(indices_from_codes(codes.movedim(1, -1), vae.levels))}
    if config.kind == "fsq":
        return Passed(codes, values.new_zeros(()), figures)
    unsure, used = lfq_entropies(values.movedim(1, -1), config.temperature, config.group_bits, mean_over_ranks)
    commitment = commitment_loss(values, codes)
    loss = config.entropy * (unsure - used) + config.commitment * commitment
    return Passed(codes, loss, {"code_entropy": unsure, "codebook_entropy": used, "commitment": commitment, **figures})


def _perplexity(indices: Tensor) -> Tensor:
    """The exponential of the entropy of how often each index occurs."""
    counts = torch.unique(indices, return_counts=True)[1]
    share = counts / counts.sum()
    return (-(share * share.log()).sum()).exp()
