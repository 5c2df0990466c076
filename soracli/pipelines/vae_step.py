"""One update of a VAE: reconstruct, pay, step, average."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from soracli.models.bottleneck import Passed, gaussian, quantised
from soracli.models.quantised_vae import QuantisedVAE
from soracli.models.vae_loss import emphasis_weights, psnr, reconstruction_loss
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.training.device import mixed_precision
from soracli.training.distributed import World, all_mean, average_gradients
from soracli.training.seeding import generator_for
from soracli.training.state import TrainState


def learn(
    vae: VideoVAE, frames: Tensor, recipe: VaeTrainRecipe, seed: int, state: TrainState, world: World
) -> dict[str, float]:
    """One update of a VAE.

    Args:
        vae: What is trained.
        frames: This rank's ``(B, 3, T, H, W)`` in [-1, 1].
        recipe: The whole run's.
        seed: Decides the noise, with the step.
        state: Its optimiser and average, and the step.
        world: All ranks call this together.

    Returns:
        What was measured, as means over ranks.
    """
    loss_config = recipe.loss
    with mixed_precision(recipe.loop.precision, world.device):
        passed = _through_bottleneck(vae, frames, recipe, seed, state.step, world)
        decoded, _ = vae.decode(passed.latents)
    decoded = decoded.float()
    l1, gradient = reconstruction_loss(decoded, frames, emphasis_weights(frames, loss_config.emphasis))
    loss = loss_config.l1 * l1 + loss_config.gradient * gradient + passed.loss
    loss.backward()
    average_gradients(vae.parameters(), world)
    measured = {"loss": loss, "l1": l1, "gradient": gradient, **passed.figures, "psnr": psnr(decoded, frames)}
    figures = dict(zip(measured, all_mean(torch.stack(list(measured.values())).tolist(), world), strict=True))
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.ema.update_parameters(vae)
    return {**figures, "learning_rate": report.learning_rate, "gradient_norm": report.gradient_norm}


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
