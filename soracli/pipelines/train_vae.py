"""``sora vae train``: frames in, a VAE with its ``LatentSpec`` out.

The loop, top to bottom: draw a batch from (seed, step, sample), reconstruct, pay, step, average; now and then log,
measure on held-out scenes, save. The same call goes on where it stopped.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.errors import Stopped, UsageError
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.config import FramesConfig
from soracli.data.frame_pool import FramePool
from soracli.data.world.clips import world_frames
from soracli.models.bottleneck import Passed, gaussian, quantised
from soracli.models.config import with_quantiser
from soracli.models.quantised_vae import QuantisedVAE, build_vae
from soracli.models.store import save_vae
from soracli.models.vae_loss import emphasis_weights, psnr, reconstruction_loss
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.recipe.load import Loaded
from soracli.recipe.write import recipe_text
from soracli.training.config import COMPILE_MAY_CHANGE, is_due
from soracli.training.device import DTYPES, mixed_precision, product_dtype, set_threads
from soracli.training.distributed import (
    World,
    agree_on_stop,
    all_mean,
    average_gradients,
    on_main,
    open_world,
    share_of,
)
from soracli.training.ema import build_ema
from soracli.training.metrics_log import open_metrics
from soracli.training.optimiser import build_optimiser
from soracli.training.run_folder import RunFolder, open_run, write_stopped
from soracli.training.seeding import generator_for, seed_global
from soracli.training.signals import signal_name, stop_on_signals
from soracli.training.state import TrainState, load_train_state, save_train_state

_IMAGES_PER_VIDEO = 4
_EVAL_CLIPS = 8
_STATISTICS_SAMPLES = 256


def train_vae(
    loaded: Loaded[VaeTrainRecipe],
    *,
    clips: Path | None,
    out: Path,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Train a VAE, or go on with a run.

    Args:
        loaded: The recipe and the origin of its values.
        clips: Manifest of clips; needed when ``frames.world_share`` is under 1.
        out: The run folder.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``; the model is in ``out/model``.

    Raises:
        Stopped: After a stop on request; everything is saved.
        SoraError: For anything a user can put right.
    """
    recipe, reporter = loaded.recipe, reporter or SilentReporter()
    check_frames(recipe)
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signals())
        world = stack.enter_context(open_world(device))
        resolved = {**recipe.model_dump(mode="json"), "clips": str(clips) if clips else ""}
        text = recipe_text(recipe, loaded.origins)
        on_main(
            lambda: bool(stack.enter_context(open_run(out, text, resolved, COMPILE_MAY_CHANGE, reporter.note))), world
        )
        run = RunFolder(out, False)
        set_threads(recipe.loop.num_threads)
        pool = FramePool(recipe.frames, clips)

        seed_global(recipe.loop.seed, "weights")
        vae = build_vae(with_quantiser(recipe.vae, recipe.quantiser)).to(world.device)
        optimiser = build_optimiser(
            vae.named_parameters(),
            recipe.optimiser,
            ("stem", "head"),
            product_dtype(recipe.loop.precision, world.device),
        )
        state = TrainState(vae, build_ema(vae, recipe.loop.ema_decay), optimiser)
        if recipe.compile:
            vae.encoder.compile(dynamic=False)
            vae.decoder.compile(dynamic=False)
        if load_train_state(run.checkpoints, state, reporter.note, world.device):
            reporter.note(f"going on with {out} after step {state.step}")

        metrics = stack.enter_context(
            open_metrics(
                run.metrics if world.is_main else None,
                state.step,
                out / "tensorboard" if recipe.loop.tensorboard else None,
            )
        )
        task = stack.enter_context(reporter.task("vae train", recipe.loop.steps, "step"))
        task.advance(state.step)
        while state.step < recipe.loop.steps:
            frames = _batch(pool, recipe, state.step, world)
            figures = _learn(vae, frames, recipe, state, world)
            state.step += 1
            task.advance(1, loss=figures["loss"], psnr=figures["psnr"])
            if is_due(state.step, recipe.loop.log_every):
                metrics.write(state.step, figures)
            if is_due(state.step, recipe.loop.eval_every) and world.is_main:
                metrics.write(state.step, _evaluate(state.ema.module, recipe.frames, world))
            level = agree_on_stop(flag.level, world)
            if level or is_due(state.step, recipe.loop.save_every) or state.step == recipe.loop.steps:
                on_main(lambda: str(save_train_state(run.checkpoints, state, recipe.loop.keep_checkpoints)), world)
            if level and state.step < recipe.loop.steps:
                reason = signal_name(level) or ""
                on_main(partial(write_stopped, out, reason), world)
                raise Stopped(f"{reason} after step {state.step}: everything is saved; the same command goes on")
        on_main(lambda: _finish(state, pool, recipe, run, world), world)
    return out


def check_frames(recipe: VaeTrainRecipe) -> None:
    """Whether frames and VAE fit each other; before anything is built.

    Raises:
        UsageError: Naming the key and the nearest valid values.
    """
    time, side, _ = recipe.vae.compression
    frames = recipe.frames
    if (frames.num_frames - 1) % time:
        below = frames.num_frames - (frames.num_frames - 1) % time
        raise UsageError(
            f"frames.num_frames = {frames.num_frames} does not fit a temporal compression of {time}: "
            f"use {below} or {below + time}"
        )
    if frames.crop % side or frames.crop > min(frames.height, frames.width):
        below = max(side, min(frames.crop, frames.height, frames.width) // side * side)
        raise UsageError(
            f"frames.crop = {frames.crop} must be a multiple of {side} and fit {frames.width}x{frames.height}: "
            f"use {below}"
        )


def _batch(pool: FramePool, recipe: VaeTrainRecipe, step: int, world: World) -> Tensor:
    """This rank's share of the batch of one step: videos, or more images of about the same cost."""
    frames, seed = recipe.frames, recipe.loop.seed
    draw = float(torch.rand(1, generator=generator_for(seed, "images", step)))
    images = step < frames.images_first or draw < frames.image_share
    count = frames.batch_size * (_IMAGES_PER_VIDEO if images else 1)
    num_frames = 1 if images else frames.num_frames
    samples = [
        pool.sample(generator_for(seed, "sample", step, index), num_frames) for index in share_of(range(count), world)
    ]
    return torch.stack(samples).to(world.device)


def _learn(vae: VideoVAE, frames: Tensor, recipe: VaeTrainRecipe, state: TrainState, world: World) -> dict[str, float]:
    """One update; what it measured, as means over ranks."""
    loss_config = recipe.loss
    with mixed_precision(recipe.loop.precision, world.device):
        passed = _through_bottleneck(vae, frames, recipe, state.step, world)
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


def _through_bottleneck(vae: VideoVAE, frames: Tensor, recipe: VaeTrainRecipe, step: int, world: World) -> Passed:
    """Latents to decode: a draw from the encoder's Gaussian, or codes."""
    if isinstance(vae, QuantisedVAE):
        values, _ = vae.encode_values(frames)
        return quantised(vae, values.float(), partial(_mean_over_ranks, world=world))
    mean, log_variance, _ = vae.encode(frames)
    mean, log_variance = mean.float(), log_variance.float()
    return gaussian(mean, log_variance, _noise(mean, recipe.loop.seed, step, world), recipe.loss.kl)


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


@torch.no_grad()
def _evaluate(vae: torch.nn.Module, frames: FramesConfig, world: World) -> dict[str, float]:
    """PSNR of whole held-out world frames, and inside their objects."""
    assert isinstance(vae, VideoVAE)
    whole, inside = [], []
    for index in range(_EVAL_CLIPS):
        pixels, shown = world_frames(
            frames.world_seed + 1,
            index,
            num_frames=frames.num_frames,
            fps=frames.fps,
            height=frames.height,
            width=frames.width,
            split="held_out",
        )
        clip = pixels.permute(3, 0, 1, 2)[None].to(world.device).float() / 127.5 - 1
        decoded = vae.decode(vae.encode(clip)[0])[0].clamp(-1, 1)
        whole.append(float(psnr(decoded, clip)))
        mask = (shown >= 0).to(world.device).expand(clip.shape)
        inside.append(float(psnr(decoded[mask], clip[mask])))
    return {"held_out_psnr": sum(whole) / len(whole), "held_out_psnr_objects": sum(inside) / len(inside)}


@torch.no_grad()
def _finish(state: TrainState, pool: FramePool, recipe: VaeTrainRecipe, run: RunFolder, world: World) -> str:
    """Measure the latents' mean and deviation and write the averaged weights as a model."""
    vae = state.ema.module
    assert isinstance(vae, VideoVAE)
    latents = []
    for index in range(_STATISTICS_SAMPLES):
        generator = generator_for(recipe.loop.seed, "statistics", index)
        clip = pool.sample(generator, recipe.frames.num_frames)[None].to(world.device)
        latents.append(vae.encode(clip)[0][0].flatten(1).cpu())
    values = torch.cat(latents, 1)
    facts = {"trained": {"steps": state.step, "recipe": "recipe.toml of the run", "seed": recipe.loop.seed}}
    std = values.std(1)
    std = torch.where(std > 0, std, 1.0)  # a dimension of codes that never changes is only moved
    return save_vae(run.model / "vae", vae, values.mean(1), std, facts, DTYPES[recipe.loop.store])
