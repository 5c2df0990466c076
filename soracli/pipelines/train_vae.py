"""``sora vae train``: frames in, a VAE with its ``LatentSpec`` out.

The loop, top to bottom: draw a batch from (seed, step, sample), reconstruct, pay, step, average; now and then log,
measure on held-out scenes, save. A run that falls apart goes back to its last checkpoint by itself. The same call goes
on where it stopped.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.errors import Stopped, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.config import FramesConfig
from soracli.data.frame_pool import FramePool, draw_shape
from soracli.data.world.clips import world_frames
from soracli.models.store import load_vae, save_vae
from soracli.models.vae_loss import emphasis_weights, kl_divergence, posterior_sample, psnr, reconstruction_loss
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.recipe.load import Loaded
from soracli.recipe.toml_text import toml_value
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
from soracli.training.guard import Guard
from soracli.training.metrics_log import open_metrics
from soracli.training.optimiser import build_optimiser
from soracli.training.run_folder import RunFolder, open_run, write_stopped
from soracli.training.seeding import derive_seed, generator_for, seed_global
from soracli.training.signals import signal_name, stop_on_signals
from soracli.training.state import TrainState, load_train_state, roll_back, save_train_state

_EVAL_CLIPS = 8
_STATISTICS_SAMPLES = 256
_DEAD_POSTERIOR = 1e-3
"""Divergence from the prior, in nats a number, under which latents say nothing of the frames."""


def train_vae(
    loaded: Loaded[VaeTrainRecipe],
    *,
    clips: Path | None,
    out: Path,
    init: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Train a VAE, or go on with a run.

    Args:
        loaded: The recipe and the origin of its values.
        clips: Manifest of clips; needed when ``frames.world_share`` is under 1.
        out: The run folder.
        init: A VAE to begin from; None begins from nothing.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``; the model is in ``out/model``.

    Raises:
        Stopped: After a stop on request; everything is saved.
        NumericsError: If it diverged more often than ``guard.rollbacks``; the last good checkpoint is there.
        SoraError: For anything a user can put right.
    """
    recipe, reporter = loaded.recipe, reporter or SilentReporter()
    check_frames(recipe)
    start = load_start(init, recipe)
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signals())
        world = stack.enter_context(open_world(device))
        resolved = {**recipe.model_dump(mode="json"), "clips": str(clips) if clips else ""}
        if start is not None:
            resolved["init"] = start[1].vae_hash
        text = recipe_text(recipe, loaded.origins)
        on_main(
            lambda: bool(stack.enter_context(open_run(out, text, resolved, COMPILE_MAY_CHANGE, reporter.note))), world
        )
        run = RunFolder(out, False)
        set_threads(recipe.loop.num_threads)
        pool = FramePool(recipe.frames, clips)

        seed_global(recipe.loop.seed, "weights")
        vae = VideoVAE(recipe.vae).to(world.device)
        if start is not None:
            vae.load_state_dict(start[0].state_dict())
        if recipe.train == "decoder":
            vae.encoder.requires_grad_(False)
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
        guard = Guard(recipe.guard, ceilings=("loss",), floors={"kl": _DEAD_POSTERIOR})

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
            seed = derive_seed(recipe.loop.seed, "rollback", state.rollbacks) if state.rollbacks else recipe.loop.seed
            state.optimiser.rate_scale = 0.5**state.rollbacks
            frames = _batch(pool, recipe, seed, state.step, world)
            figures = _learn(vae, frames, recipe, seed, state, world)
            guard.watch(figures)
            if guard.has_diverged:
                done = state.step
                roll_back(run.checkpoints, state, guard, reporter.note, world.device)
                metrics.rewind(state.step)
                task.advance(state.step - done)
                continue
            state.step += 1
            task.advance(1, loss=figures["loss"], psnr=figures["psnr"])
            if is_due(state.step, recipe.loop.log_every):
                metrics.write(state.step, figures)
            if is_due(state.step, recipe.loop.eval_every) and world.is_main:
                metrics.write(state.step, _evaluate(state.ema.module, recipe.frames, world))
            level = agree_on_stop(flag.level, world)
            due = level or is_due(state.step, recipe.loop.save_every) or state.step == recipe.loop.steps
            if due and guard.is_calm:
                on_main(lambda: str(save_train_state(run.checkpoints, state, recipe.loop.keep_checkpoints)), world)
            if level and state.step < recipe.loop.steps:
                reason = signal_name(level) or ""
                on_main(partial(write_stopped, out, reason), world)
                raise Stopped(f"{reason} after step {state.step}: everything is saved; the same command goes on")
        on_main(lambda: _finish(state, pool, recipe, run, start and start[1], world), world)
    return out


def load_start(init: Path | None, recipe: VaeTrainRecipe) -> tuple[VideoVAE, LatentSpec] | None:
    """The VAE that a training begins from, if any.

    Raises:
        UsageError: If the recipe builds another VAE, or trains a decoder alone without an encoder to keep.
        ArtifactError: If it cannot be read.
    """
    if init is None:
        if recipe.train == "decoder":
            raise UsageError('train = "decoder" keeps the encoder as it is: give the VAE it belongs to with --init')
        return None
    vae, spec = load_vae(init)
    differing = [key for key, value in vae.config.model_dump().items() if getattr(recipe.vae, key) != value]
    if differing:
        changes = " ".join(f"--set vae.{key}={toml_value(getattr(vae.config, key))}" for key in differing)
        raise UsageError(f"the recipe builds another VAE than {init} is: {changes} would build that")
    return vae, spec


def check_frames(recipe: VaeTrainRecipe) -> None:
    """Whether frames and VAE fit each other; before anything is built.

    Raises:
        UsageError: Naming the key and the nearest valid values.
    """
    time, side, _ = recipe.vae.compression
    frames = recipe.frames
    for number, shape in enumerate(frames.shapes):
        if (shape.num_frames - 1) % time:
            below = shape.num_frames - (shape.num_frames - 1) % time
            raise UsageError(
                f"frames.shapes[{number}].num_frames = {shape.num_frames} does not fit a temporal compression of "
                f"{time}: use {below} or {below + time}"
            )
        if shape.crop % side or shape.crop > min(frames.height, frames.width):
            below = max(side, min(shape.crop, frames.height, frames.width) // side * side)
            raise UsageError(
                f"frames.shapes[{number}].crop = {shape.crop} must be a multiple of {side} and fit "
                f"{frames.width}x{frames.height}: use {below}"
            )


def _batch(pool: FramePool, recipe: VaeTrainRecipe, seed: int, step: int, world: World) -> Tensor:
    """This rank's share of the batch of one step: samples of one shape."""
    shape = draw_shape(recipe.frames, step, generator_for(seed, "shape", step))
    samples = [
        pool.sample(generator_for(seed, "sample", step, index), shape.num_frames, shape.crop)
        for index in share_of(range(shape.batch_size), world)
    ]
    return torch.stack(samples).to(world.device)


def _learn(
    vae: VideoVAE, frames: Tensor, recipe: VaeTrainRecipe, seed: int, state: TrainState, world: World
) -> dict[str, float]:
    """One update; what it measured, as means over ranks."""
    loss_config = recipe.loss
    with mixed_precision(recipe.loop.precision, world.device):
        mean, log_variance, _ = vae.encode(frames)
        mean, log_variance = mean.float(), log_variance.float()
        noise = _noise(mean, seed, state.step, world)
        decoded, _ = vae.decode(posterior_sample(mean, log_variance, noise))
    decoded = decoded.float()
    l1, gradient = reconstruction_loss(decoded, frames, emphasis_weights(frames, loss_config.emphasis))
    divergence = kl_divergence(mean, log_variance)
    loss = loss_config.l1 * l1 + loss_config.gradient * gradient + loss_config.kl * divergence
    loss.backward()
    average_gradients(vae.parameters(), world)
    measured = torch.stack([loss, l1, gradient, divergence, psnr(decoded, frames)]).tolist()
    names = ("loss", "l1", "gradient", "kl", "psnr")
    figures = dict(zip(names, all_mean(measured, world), strict=True))
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.ema.update_parameters(vae)
    return {**figures, "learning_rate": report.learning_rate, "gradient_norm": report.gradient_norm}


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
            num_frames=frames.longest,
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
def _finish(
    state: TrainState, pool: FramePool, recipe: VaeTrainRecipe, run: RunFolder, start: LatentSpec | None, world: World
) -> str:
    """Write the averaged weights as a model, with the latents' mean and deviation.

    They are measured, unless only the decoder was trained: then they are those of the VAE it began from.
    """
    vae = state.ema.module
    assert isinstance(vae, VideoVAE)
    if recipe.train == "decoder" and start is not None:
        mean, std = torch.tensor(start.mean), torch.tensor(start.std)
    else:
        mean, std = _statistics(vae, pool, recipe, world)
    facts = {"trained": {"steps": state.step, "recipe": "recipe.toml of the run", "seed": recipe.loop.seed}}
    return save_vae(run.model / "vae", vae, mean, std, facts, DTYPES[recipe.loop.store])


def _statistics(vae: VideoVAE, pool: FramePool, recipe: VaeTrainRecipe, world: World) -> tuple[Tensor, Tensor]:
    """Mean and deviation ``(C,)`` of the latents of what was trained on."""
    latents = []
    shape = max(recipe.frames.shapes, key=lambda shape: (shape.num_frames, shape.crop))
    for index in range(_STATISTICS_SAMPLES):
        generator = generator_for(recipe.loop.seed, "statistics", index)
        clip = pool.sample(generator, shape.num_frames, shape.crop)[None].to(world.device)
        latents.append(vae.encode(clip)[0][0].flatten(1).cpu())
    values = torch.cat(latents, 1)
    return values.mean(1), values.std(1)
