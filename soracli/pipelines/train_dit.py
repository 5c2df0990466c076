"""``sora dit train``: cached latents in, a DiT with its text encoder out.

The loop, top to bottom: draw samples from (seed, step, sample), give each an order and noise, pack them into one
sequence, predict velocities, step, average; now and then log, measure on samples that stay the same, show samples,
save. The same call goes on where it stopped.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from soracli.core.errors import Stopped
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.diffusion.config import SamplingConfig
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_model import show_draft, write_model
from soracli.pipelines.dit_start import check_patch, check_vae, learn_tokenizer, load_start
from soracli.pipelines.dit_step import DiTWithText, learn, validate
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.recipe.load import Loaded
from soracli.recipe.write import recipe_text
from soracli.training.config import COMPILE_MAY_CHANGE, is_due
from soracli.training.device import product_dtype, set_threads
from soracli.training.distributed import agree_on_stop, on_main, open_world
from soracli.training.ema import build_ema
from soracli.training.metrics_log import open_metrics
from soracli.training.optimiser import build_optimiser
from soracli.training.run_folder import RunFolder, open_run, write_stopped
from soracli.training.seeding import seed_global
from soracli.training.signals import signal_name, stop_on_signals
from soracli.training.state import TrainState, load_train_state, save_train_state

_MAY_CHANGE = (
    *COMPILE_MAY_CHANGE,
    "checkpoint_activations",
    *(f"sampling.{key}" for key in SamplingConfig.model_fields),
)
"""The same command with other values of these goes on; on a finished run it only writes them into the model."""


def train_dit(
    loaded: Loaded[DitTrainRecipe],
    *,
    latents: Path,
    vae: Path,
    out: Path,
    init: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Train a DiT, or go on with a run.

    Args:
        loaded: The recipe and the origin of its values.
        latents: A cache of ``sora latents cache``.
        vae: The VAE the cache was made with; it is put into the model.
        out: The run folder.
        init: A model to begin from, with its text encoder and tokens; None begins from nothing.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``; the whole model is in ``out/model``.

    Raises:
        Stopped: After a stop on request; everything is saved.
        SoraError: For anything a user can put right.
    """
    recipe, reporter = loaded.recipe, reporter or SilentReporter()
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signals())
        world = stack.enter_context(open_world(device))
        set_threads(recipe.loop.num_threads)
        cache = LatentCache(latents)
        check_vae(cache, vae)
        check_patch(cache, recipe)
        sampler = LatentSampler(cache, recipe.samples)
        start = load_start(init, cache, recipe)
        resolved = {**recipe.model_dump(mode="json"), "latents": cache.content_hash}
        if start is not None:
            resolved["init"] = start.model_hash
        text = recipe_text(recipe, loaded.origins)
        on_main(lambda: bool(stack.enter_context(open_run(out, text, resolved, _MAY_CHANGE, reporter.note))), world)
        run = RunFolder(out, False)
        tokenizer = learn_tokenizer(cache, recipe) if start is None else start.tokenizer
        seed_global(recipe.loop.seed, "weights")
        model = DiTWithText(DiT(recipe.dit, cache.spec.channels, recipe.text.hidden_size), TextEncoder(recipe.text))
        if start is not None:
            model.load_state_dict(DiTWithText(start.dit, start.text).state_dict())
        model.to(world.device)
        optimiser = build_optimiser(
            model.named_parameters(),
            recipe.optimiser,
            ("*embed*", "final*"),
            product_dtype(recipe.loop.precision, world.device),
        )
        state = TrainState(model, build_ema(model, recipe.loop.ema_decay), optimiser)
        model.dit.checkpoints_activations = recipe.checkpoint_activations
        if recipe.compile:
            for block in model.dit.blocks:
                block.compile(dynamic=True)
        if load_train_state(run.checkpoints, state, reporter.note, world.device):
            reporter.note(f"going on with {out} after step {state.step}")

        metrics = stack.enter_context(
            open_metrics(
                run.metrics if world.is_main else None,
                state.step,
                out / "tensorboard" if recipe.loop.tensorboard else None,
            )
        )
        task = stack.enter_context(reporter.task("dit train", recipe.loop.steps, "step"))
        task.advance(state.step)
        while state.step < recipe.loop.steps:
            began = time.perf_counter()
            tokens, targets = draw_batch(sampler, tokenizer, recipe, state.step, world)
            figures = learn(model, tokens.to(world.device), targets.to(world.device), recipe, state, world)
            state.step += 1
            rate = world.size * len(tokens.order) / (time.perf_counter() - began)
            task.advance(1, loss=figures["loss"], tokens_per_second=round(rate))
            if is_due(state.step, recipe.loop.log_every):
                metrics.write(state.step, {**figures, "tokens_per_second": rate})
            if is_due(state.step, recipe.loop.eval_every) and world.is_main:
                metrics.write(state.step, validate(state.ema.module, sampler, tokenizer, recipe, world))
            level = agree_on_stop(flag.level, world)
            if level or is_due(state.step, recipe.loop.save_every) or state.step == recipe.loop.steps:
                on_main(lambda: str(save_train_state(run.checkpoints, state, recipe.loop.keep_checkpoints)), world)
            if is_due(state.step, recipe.loop.sample_every):
                on_main(lambda: show_draft(state, tokenizer, cache, recipe, run, vae, world), world)
            if level and state.step < recipe.loop.steps:
                reason = signal_name(level) or ""
                on_main(partial(write_stopped, out, reason), world)
                raise Stopped(f"{reason} after step {state.step}: everything is saved; the same command goes on")
        on_main(lambda: write_model(run.model, state, tokenizer, cache, recipe, vae), world)
    return out
