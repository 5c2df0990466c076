"""One update of a VAE, and of the discriminator that it plays against if there is one.

What decoded frames cost is differentiated with respect to those frames first, part by part; the VAE is then walked
through backwards once. So the two sides of the game can be weighed against each other for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from soracli.models.adversarial_loss import (
    LecamAverages,
    adaptive_weight,
    adversarial_share,
    discriminator_loss,
    generator_loss,
    lecam_penalty,
    r1_penalty,
    start_lecam,
    update_lecam,
)
from soracli.models.bottleneck import Passed, gaussian, quantised
from soracli.models.discriminator import PatchDiscriminator
from soracli.models.perceptual import PerceptualDistance, spread_frames
from soracli.models.quantised_vae import QuantisedVAE
from soracli.models.vae_loss import emphasis_weights, psnr, reconstruction_loss
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.training.device import mixed_precision
from soracli.training.distributed import World, all_mean, average_gradients
from soracli.training.optimiser import build_optimiser
from soracli.training.seeding import generator_for
from soracli.training.state import Partner, TrainState


class Adversary(nn.Module):
    """A discriminator and what its logits were like lately: what a checkpoint has to keep of the game."""

    lecam: Tensor

    def __init__(self, recipe: VaeTrainRecipe) -> None:
        super().__init__()
        self.discriminator = PatchDiscriminator(recipe.discriminator)
        self.register_buffer("lecam", torch.stack(tuple(start_lecam())))


@dataclass(frozen=True)
class Update:
    """What one update is made with, the same for all of them.

    Attributes:
        recipe: The whole run's.
        state: The VAE, its average and its optimiser; the adversary is its partner.
        perceptual: What sees how different frames look, if anything does.
        world: All ranks.
    """

    recipe: VaeTrainRecipe
    state: TrainState
    perceptual: PerceptualDistance | None
    world: World


def build_adversary(recipe: VaeTrainRecipe, world: World) -> Partner | None:
    """The discriminator with its optimiser, None when the recipe has no use for one."""
    if recipe.adversary.weight == 0:
        return None
    adversary = Adversary(recipe).to(world.device)
    return Partner(adversary, build_optimiser(adversary.named_parameters(), recipe.discriminator_optimiser))


def learn(update: Update, frames: Tensor, seed: int) -> dict[str, float]:
    """One update.

    Args:
        update: What it is made with.
        frames: This rank's ``(B, 3, T, H, W)`` in [-1, 1].
        seed: Decides the noise, with the step.

    Returns:
        What was measured, as means over ranks.
    """
    recipe, state, world = update.recipe, update.state, update.world
    vae = state.model
    assert isinstance(vae, VideoVAE)
    with mixed_precision(recipe.loop.precision, world.device):
        passed = _through_bottleneck(vae, frames, recipe, seed, state.step, world)
        decoded, _ = vae.decode(passed.latents)
    decoded = decoded.float()
    shown = decoded.detach().requires_grad_()
    loss, measured = _reconstruction(shown, frames, update, seed)
    (slope,) = torch.autograd.grad(loss, shown)
    if (share := _adversarial_share(update)) > 0:
        fooled, pull = _fool(shown, update)
        weight = share * recipe.adversary.weight
        if recipe.adversary.adaptive:
            weight = weight * _balance(slope, pull, world)
        slope = slope + weight * pull
        measured = {**measured, "fooled": fooled, "adversarial_weight": shown.new_tensor(weight)}
    # FSQ pays nothing, and a number without a graph cannot be walked through.
    paid = [passed.loss] if passed.loss.requires_grad else []
    torch.autograd.backward([decoded, *paid], [slope, *(None for _ in paid)])
    average_gradients(vae.parameters(), world)
    measured = {"loss": loss.detach() + passed.loss.detach(), **measured, **passed.figures}
    figures = _means({**measured, "psnr": psnr(shown.detach(), frames)}, world)
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.average()
    figures |= report.figures()
    return figures | _discriminate(frames, shown.detach(), update)


def _reconstruction(shown: Tensor, frames: Tensor, update: Update, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """What decoded frames cost for not being the frames, and the parts of it."""
    recipe, config = update.recipe, update.recipe.loss
    l1, gradient = reconstruction_loss(shown, frames, emphasis_weights(frames, config.emphasis))
    loss = config.l1 * l1 + config.gradient * gradient
    measured = {"l1": l1.detach(), "gradient": gradient.detach()}
    if update.perceptual is not None:
        generator = generator_for(seed, "perceptual", update.state.step)
        picked = spread_frames(frames.shape[2], recipe.perceptual.num_frames, generator).to(frames.device)
        with mixed_precision(recipe.loop.precision, update.world.device):
            distance = update.perceptual(shown[:, :, picked], frames[:, :, picked])
        loss = loss + recipe.perceptual.weight * distance
        measured["perceptual"] = distance.detach()
    return loss, measured


def _adversarial_share(update: Update) -> float:
    """How much of the adversarial loss counts at this step."""
    config = update.recipe.adversary
    if update.state.partner is None:
        return 0.0
    return adversarial_share(update.state.step, config.start, config.ramp_steps)


def _fool(shown: Tensor, update: Update) -> tuple[Tensor, Tensor]:
    """The loss of decoded frames that are told from real ones, and its slope with respect to them."""
    adversary = _adversary(update)
    adversary.requires_grad_(False)  # it does not learn from this
    with mixed_precision(update.recipe.loop.precision, update.world.device):
        logits = adversary.discriminator(shown)
    fooled = generator_loss(logits, update.recipe.adversary.kind)
    (pull,) = torch.autograd.grad(fooled, shown)
    adversary.requires_grad_(True)
    return fooled.detach(), pull


def _balance(slope: Tensor, pull: Tensor, world: World) -> float:
    """VQGAN's adaptive weight of the whole batch.

    Differs from the source: the slopes of the decoded frames stand for those of the decoder's last weights.
    """
    # Each rank has the slopes of means over its share: those of the whole batch are as long as their root mean square
    # over ranks, over the root of the number of ranks.
    squares = all_mean([float(slope.square().sum()), float(pull.square().sum())], world)
    ours, theirs = (torch.tensor((square / world.size) ** 0.5) for square in squares)
    return float(adaptive_weight(ours, theirs))


def _discriminate(frames: Tensor, decoded: Tensor, update: Update) -> dict[str, float]:
    """One update of the discriminator, which begins with the game; what was measured."""
    recipe, state, world = update.recipe, update.state, update.world
    if state.partner is None or _adversarial_share(update) == 0:
        return {}
    config, adversary = recipe.adversary, _adversary(update)
    with mixed_precision(recipe.loop.precision, world.device):
        real, fake = adversary.discriminator(frames), adversary.discriminator(decoded)
    told = discriminator_loss(real, fake, config.kind)
    averages = LecamAverages(*adversary.lecam.unbind())
    loss = told + config.lecam * lecam_penalty(real, fake, averages)
    if config.r1 > 0 and state.step % config.r1_every == 0:
        # In full precision: it is differentiated twice.
        penalty = r1_penalty(adversary.discriminator.forward, frames)
        loss = loss + 0.5 * config.r1 * config.r1_every * penalty
    loss.backward()
    average_gradients(adversary.parameters(), world)
    real, fake = real.detach().float(), fake.detach().float()
    sizes = {
        "logits_real": real.mean(),
        "logits_fake": fake.mean(),
        "logit_size": 0.5 * (real.abs() + fake.abs()).mean(),
    }
    figures = _means({"told": told, **sizes}, world)
    report = state.partner.optimiser.step(state.step, recipe.loop.steps, figures["told"])
    if report.applied:
        mean_real, mean_fake = (frames.new_tensor(figures[name]) for name in ("logits_real", "logits_fake"))
        adversary.lecam.copy_(torch.stack(tuple(update_lecam(averages, mean_real, mean_fake, config.lecam_decay))))
    skipped = float(report.skipped_updates)
    return {
        **figures,
        "gradient_norm_discriminator": report.gradient_norm,
        "skipped_updates_discriminator": skipped,
    }


def _adversary(update: Update) -> Adversary:
    assert update.state.partner is not None
    adversary = update.state.partner.module
    assert isinstance(adversary, Adversary)
    return adversary


def _means(measured: dict[str, Tensor], world: World) -> dict[str, float]:
    """Of numbers of every rank."""
    values = torch.stack([value.detach().float() for value in measured.values()]).tolist()
    return dict(zip(measured, all_mean(values, world), strict=True))


def _through_bottleneck(
    vae: VideoVAE, frames: Tensor, recipe: VaeTrainRecipe, seed: int, step: int, world: World
) -> Passed:
    """Latents to decode: a draw from the encoder's Gaussian, or codes."""
    if isinstance(vae, QuantisedVAE):
        values, _ = vae.encode_values(frames)
        return quantised(vae, values.float(), partial(_mean_over_ranks, world=world))
    mean, log_variance, _ = vae.encode(frames)
    mean, log_variance = mean.float(), log_variance.float()
    return gaussian(mean, log_variance, _noise(mean, seed, step, world), recipe.loss.kl)


def _mean_over_ranks(values: Tensor, world: World) -> Tensor:
    """The mean over ranks of a vector, with the gradient of this rank's: averaged, those are the mean's."""
    if world.size == 1:
        return values
    whole = torch.tensor(all_mean(values.tolist(), world)).to(values)
    return values + (whole - values).detach()


def _noise(like: Tensor, seed: int, step: int, world: World) -> Tensor:
    """This rank's share of the noise of the whole batch: any number of ranks draws what one would."""
    whole = torch.randn(like.shape[0] * world.size, *like.shape[1:], generator=generator_for(seed, "noise", step, 0))
    return whole.chunk(world.size)[world.rank].to(like)
