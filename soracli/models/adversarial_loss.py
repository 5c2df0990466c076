"""What discriminator and decoder play for, and what keeps the game even: plain functions, no state of their own.

Logits are those of ``PatchDiscriminator``, of any shape: high means real. Everything comes back as a number of float32
at least, whatever the logits are in. What has to be the same on all ranks (averages, the two gradients of the adaptive
weight) is averaged by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from soracli.models.config import AdversarialKind

MOST_ADAPTIVE = 1e4
"""The adaptive weight is at most this (VQGAN's figure)."""
_LEAST_GRADIENT = 1e-4


class LecamAverages(NamedTuple):
    """What logits were like lately, the memory of ``lecam_penalty``.

    Attributes:
        real: Moving average of the logits of real frames, one number.
        fake: The same of decoded frames.
    """

    real: Tensor
    fake: Tensor


def discriminator_loss(real: Tensor, fake: Tensor, kind: AdversarialKind) -> Tensor:
    """What the discriminator pays: ``real`` should be high, ``fake`` low.

    Source: hinge of Lim and Ye 2017 (arXiv:1705.02894); ``non_saturating`` of Goodfellow et al. 2014 (arXiv:1406.2661),
    the cross-entropy of logits. Both are sums of a mean over real and a mean over fake logits, as in MAGVIT; VQGAN and
    VidTok take half.

    Args:
        real: Logits of real frames.
        fake: Logits of decoded frames; the decoder's part of the graph detached.
        kind: Which loss.
    """
    real, fake = _exact(real), _exact(fake)
    if kind == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: AdversarialKind) -> Tensor:
    """What the decoder pays for logits that tell its frames from real ones; the other side of ``discriminator_loss``.

    Args:
        fake: Logits of decoded frames, with their graph.
        kind: Which loss: minus the mean logit for ``hinge``, the mean of -log sigmoid for ``non_saturating``.
    """
    fake = _exact(fake)
    return -fake.mean() if kind == "hinge" else functional.softplus(-fake).mean()


def lecam_penalty(real: Tensor, fake: Tensor, averages: LecamAverages) -> Tensor:
    """LeCam regularisation: logits shall not run away from what those of the other side were lately.

    ``mean(relu(real - averages.fake)^2) + mean(relu(averages.real - fake)^2)``, added to the discriminator's loss.

    Source: Tseng et al. 2021 (arXiv:2104.03310); MAGVIT has one logit a batch, the mean: pass mean logits for exactly
    that. The penalty of all logits is never less.

    Args:
        real: Logits of real frames.
        fake: Logits of decoded frames.
        averages: Of ``update_lecam``, from the steps before; no gradient goes to them.
    """
    above = functional.relu(_exact(real) - averages.fake.detach())
    below = functional.relu(averages.real.detach() - _exact(fake))
    return above.square().mean() + below.square().mean()


def start_lecam(device: torch.device | str = "cpu") -> LecamAverages:
    """Averages before the first step: zeros, as in MAGVIT."""
    return LecamAverages(torch.zeros((), device=device), torch.zeros((), device=device))


def update_lecam(averages: LecamAverages, real: Tensor, fake: Tensor, decay: float) -> LecamAverages:
    """Averages after one more step; those given stay as they are.

    Args:
        averages: Up to now.
        real: Logits of real frames, or their mean over all ranks.
        fake: The same of decoded frames.
        decay: How much of the old stays, in [0, 1]; MAGVIT has 0.999.
    """
    lately = (logits.detach().to(averages.real.dtype).mean() for logits in (real, fake))
    return LecamAverages(*(old.lerp(new, 1 - decay) for old, new in zip(averages, lately, strict=True)))


def r1_penalty(discriminator: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """R1: how much the logits of real frames hang on single pixels.

    The squared gradient of the sum of logits with respect to the frames, summed over pixels, over the number of logits.
    With one logit a sample that is E[|grad D(x)|^2] of Mescheder et al. 2018 (arXiv:1801.04406, equation 9); their
    loss adds gamma / 2 of it.

    Differs from the source: a discriminator of patches has many logits. For patches that do not overlap this is the
    mean of the penalties of the single patches, so one weight serves all lengths and sizes of video.

    It is differentiated twice, which compiled modules refuse: pass ``discriminator.forward`` of one that was compiled.
    Needed at every 16th step only, with 16 times the weight (Karras et al. 2019, arXiv:1912.04958, section 3.1).

    Args:
        discriminator: Frames to logits; no logit depends on another sample.
        frames: ``(B, 3, T, H, W)`` real frames.
    """
    frames = frames.detach().requires_grad_()
    logits = discriminator(frames)
    (gradient,) = torch.autograd.grad(_exact(logits).sum(), frames, create_graph=True)
    return _exact(gradient).square().sum() / logits.numel()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor) -> Tensor:
    """A weight for the adversarial loss with which it moves the decoder as much as the reconstruction does.

    ``|reconstruction| / (|adversarial| + 1e-4)``, at most ``MOST_ADAPTIVE``; a constant to autograd.

    Source: Esser et al. 2020, VQGAN (arXiv:2012.09841, equation 7), with the numbers of its code.

    Args:
        reconstruction: Gradient of the reconstruction loss with respect to the decoder's last weights.
        adversarial: Gradient of ``generator_loss`` with respect to the same; both averaged over ranks before.
    """
    ours, theirs = _exact(reconstruction.detach()).norm(), _exact(adversarial.detach()).norm()
    return (ours / (theirs + _LEAST_GRADIENT)).clamp(max=MOST_ADAPTIVE)


def adversarial_share(step: int, start: int, ramp_steps: int) -> float:
    """How much of the adversarial loss counts: nothing at first, all of it later.

    A decoder that cannot draw yet learns nothing from being told apart (VQGAN's ``disc_start``).

    Args:
        step: Index of the update, from 0.
        start: The first step at which it counts.
        ramp_steps: Updates over which it grows evenly to all; 0 and 1 mean at once.

    Returns:
        A number in [0, 1].
    """
    return min(1.0, max(0, step - start + 1) / max(1, ramp_steps))


def _exact(x: Tensor) -> Tensor:
    """In float32, or float64 if it was."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
