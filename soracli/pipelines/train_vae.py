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

from soracli.core.errors import NumericsError, Stopped, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.config import FramesConfig
from soracli.data.frame_pool import FramePool, draw_shape
from soracli.data.manifest import clips_content
from soracli.data.world.clips import world_frames
from soracli.models.config import VAEConfig, with_quantiser
from soracli.models.perceptual import PerceptualDistance, load_perceptual
from soracli.models.quantised_vae import build_vae, freeze_encoder, start_from
from soracli.models.store import load_video_vae, save_vae
from soracli.models.vae_loss import psnr
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.linear_start import set_linear_code
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.pipelines.vae_step import Update, build_adversary, learn
from soracli.recipe.load import Loaded
from soracli.recipe.toml_text import toml_value
from soracli.recipe.write import recipe_text
from soracli.training.config import is_due, may_change
from soracli.training.device import DTYPES, product_dtype, set_threads
from soracli.training.distributed import (
    World,
    agree_on_stop,
    on_main,
    open_world,
    share_of,
)
from soracli.training.guard import Guard
from soracli.training.metrics_log import open_metrics
from soracli.training.optimiser import build_optimiser
from soracli.training.run_folder import RunFolder, open_run, write_stopped
from soracli.training.seeding import derive_seed, generator_for, seed_global
from soracli.training.signals import signal_name, stop_on_signals
from soracli.training.state import TrainState, begin_state, load_train_state, roll_back, save_train_state, tell_resumed

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
    fork_of: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Train a VAE, or go on with a run.

    Args:
        loaded: The recipe and the origin of its values.
        clips: Manifest of clips; needed when ``frames.world_share`` is under 1.
        out: The run folder.
        fork_of: A run whose last checkpoint this new one begins with, also where the recipe differs; it stays as it is.
        init: A VAE to begin from; None begins from nothing.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``; the model is in ``out/model``.

    Raises:
        Stopped: After a stop on request; everything is saved, or the last good state if it came during an alarm.
        NumericsError: If it diverged more often than ``guard.rollbacks``; the last good checkpoint is there.
        SoraError: For anything a user can put right.
    """
    recipe, reporter = loaded.recipe, reporter or SilentReporter()
    check_frames(recipe)
    start, perceptual = load_start(init, recipe), load_network(recipe)
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signals())
        world = stack.enter_context(open_world(device, recipe.loop.rank_timeout))
        check_shares(recipe, world)
        content = clips_content(clips)
        resolved = {**recipe.model_dump(mode="json"), "clips": str(clips) if clips else "", **content}
        if start is not None:
            resolved["init"] = start[1].vae_hash
        text = recipe_text(recipe, loaded.origins)
        defaults = {**VaeTrainRecipe().model_dump(mode="json"), **content}
        entered = partial(open_run, out, text, resolved, may_change(recipe.loop), reporter.note, defaults, fork_of)
        on_main(lambda: bool(stack.enter_context(entered())), world)
        run = RunFolder(out, False)
        set_threads(recipe.loop.num_threads)
        pool = FramePool(recipe.frames, clips)

        seed_global(recipe.loop.seed, "weights")
        vae = build_vae(with_quantiser(recipe.vae, recipe.quantiser)).to(world.device)
        if start is not None:
            start_from(vae, start[0])
        elif recipe.vae.linear_code:
            set_linear_code(vae, pool, recipe)
        if recipe.train == "decoder":
            freeze_encoder(vae)
        optimiser = build_optimiser(
            vae.named_parameters(),
            recipe.optimiser,
            ("stem", "head"),
            product_dtype(recipe.loop.precision, world.device),
        )
        state = begin_state(vae, optimiser, recipe.loop, build_adversary(recipe, world))
        update = Update(recipe, state, None if perceptual is None else perceptual.to(world.device), world)
        if recipe.compile:
            vae.encoder.compile(dynamic=False)
            vae.decoder.compile(dynamic=False)
        if load_train_state(run.checkpoints, state, reporter.note, world.device):
            reporter.note(tell_resumed(out, state.step, recipe.loop.steps))
        guard = Guard(recipe.guard, ceilings=("loss", "l1", "logit_size"), floors={"kl": _DEAD_POSTERIOR})

        metrics = stack.enter_context(
            open_metrics(
                run.metrics if world.is_main else None,
                state.step,
                out / "tensorboard" if recipe.loop.tensorboard else None,
            )
        )
        task = stack.enter_context(reporter.task("vae train", recipe.loop.steps, "step"))
        task.advance(state.step)
        owed, broken = False, 0
        while state.step < recipe.loop.steps:
            seed = derive_seed(recipe.loop.seed, "rollback", state.rollbacks) if state.rollbacks else recipe.loop.seed
            state.slow_down(0.5**state.rollbacks)
            is_last = state.step + 1 == recipe.loop.steps
            left_out = optimiser.left_out
            try:
                figures = learn(update, _batch(pool, recipe, seed, state.step, world), seed)
                guard.watch(figures)
            except NumericsError as error:  # the optimiser has skipped as many steps as it may
                guard.give_up(str(error))
            # A run must not end in an alarm: what it leaves behind would be the average of a broken state.
            if guard.has_diverged or (is_last and not guard.is_calm):
                done = state.step
                roll_back(run.checkpoints, state, guard, reporter.note, world.device)
                metrics.rewind(state.step)
                task.advance(state.step - done)
                continue
            state.step += 1
            if pool.broken > broken:
                broken = pool.broken
                reporter.note(f"clips that cannot be read any more, left out: {broken}; sora clips index tells why")
            task.advance(1, loss=figures["loss"], psnr=figures["psnr"])
            if is_due(state.step, recipe.loop.log_every) or optimiser.left_out > left_out:
                metrics.write(state.step, figures)
            if is_due(state.step, recipe.loop.eval_every) and world.is_main:
                metrics.write(state.step, _evaluate(state.ema.module, recipe.frames, world))
            level = agree_on_stop(flag.level, world)
            owed = owed or bool(level) or is_last or is_due(state.step, recipe.loop.save_every)
            if owed and guard.is_calm:  # during an alarm a checkpoint waits
                on_main(lambda: str(save_train_state(run.checkpoints, state, recipe.loop.keep_checkpoints)), world)
                owed = False
            if level and state.step < recipe.loop.steps:
                reason = signal_name(level) or ""
                on_main(partial(write_stopped, out, reason), world)
                kept = "everything is saved" if guard.is_calm else f"the last good state is saved ({guard.reason})"
                raise Stopped(f"{reason} after step {state.step}: {kept}; the same command goes on")
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
        if recipe.statistics == "kept":
            raise UsageError('statistics = "kept" keeps those of another VAE: give it with --init')
        return None
    vae, spec = load_video_vae(init)
    wanted = with_quantiser(recipe.vae, recipe.quantiser).model_dump()
    found = vae.config.model_dump()
    # Encoder and decoder are the same with and without a quantiser; only a decoder that stays in its place needs both.
    keys = found if recipe.train == "decoder" else VAEConfig.model_fields
    differing = [key for key in keys if wanted.get(key) != found[key]]
    if differing:
        changes = " ".join(
            f"--set vae.{key}={toml_value(found[key])}" for key in differing if key in recipe.vae.model_dump()
        )
        raise UsageError(
            f"the recipe builds another VAE than {init} is: {changes or 'give it the same quantiser'} would build that"
        )
    return vae, spec


def load_network(recipe: VaeTrainRecipe) -> PerceptualDistance | None:
    """The network that sees how different frames look, if the recipe asks for one; before anything is built.

    Raises:
        SoraError: If it cannot be had, or does not take frames of the recipe's sizes.
    """
    network = load_perceptual(recipe.perceptual)
    if network is not None:
        for shape in recipe.frames.shapes:
            network.check_size(shape.crop, shape.crop)
    return network


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


def check_shares(recipe: VaeTrainRecipe, world: World) -> None:
    """Whether every batch divides among the ranks.

    Raises:
        UsageError: Naming the key and the nearest valid value.
    """
    for number, shape in enumerate(recipe.frames.shapes):
        if shape.batch_size % world.size:
            more = shape.batch_size + -shape.batch_size % world.size
            raise UsageError(
                f"frames.shapes[{number}].batch_size = {shape.batch_size} does not divide among {world.size} ranks: "
                f"use {more}"
            )


def _batch(pool: FramePool, recipe: VaeTrainRecipe, seed: int, step: int, world: World) -> Tensor:
    """This rank's share of the batch of one step: samples of one shape."""
    shape = draw_shape(recipe.frames, step, generator_for(seed, "shape", step))
    samples = [
        pool.sample(generator_for(seed, "sample", step, index), shape.num_frames, shape.crop)
        for index in share_of(range(shape.batch_size), world)
    ]
    return torch.stack(samples).to(world.device)


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

    They are measured, unless the recipe keeps those of the VAE it began from, as with a decoder trained alone.
    """
    vae = state.ema.module
    assert isinstance(vae, VideoVAE)
    if start is not None and (recipe.train == "decoder" or recipe.statistics == "kept"):
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
    std = values.std(1)
    return values.mean(1), torch.where(std > 0, std, 1.0)  # a dimension of codes that never changes is only moved
