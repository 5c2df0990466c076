"""``sora dit train``: cached latents in, a DiT with its text encoder out.

The loop, top to bottom: draw samples from (seed, step, sample), give each an order and noise, pack them into one
sequence, predict velocities, step, average; now and then log, measure on samples that stay the same, show samples,
save. The same call goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from soracli.core.errors import Stopped
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.diffusion.config import SamplingConfig
from soracli.models.generator import Generator
from soracli.models.text_frozen import open_frozen
from soracli.models.tokenizer import PairedTokenizer
from soracli.pipelines.dit_adapter import check_adapters
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_figures import build_speedometer, shown
from soracli.pipelines.dit_model import finish, show_draft
from soracli.pipelines.dit_packing import tell_left_out
from soracli.pipelines.dit_start import check_patch, check_vae, learn_tokenizer, load_start
from soracli.pipelines.dit_state import build_state
from soracli.pipelines.dit_step import Batch, DiTWithText, learn, validate
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.recipe.load import Loaded
from soracli.recipe.write import recipe_text
from soracli.training.config import is_due, may_change
from soracli.training.device import set_threads
from soracli.training.distributed import World, agree_on_stop, on_main, open_world
from soracli.training.metrics_log import open_metrics
from soracli.training.run_folder import RunFolder, open_run, write_stopped
from soracli.training.sharding import open_sharding
from soracli.training.signals import signal_name, stop_on_signals
from soracli.training.state import TrainState, load_train_state, save_train_state, tell_resumed

_MAY_CHANGE = (
    "accumulate",
    "checkpoint_activations",
    "shard_ranks",
    *(f"sampling.{key}" for key in SamplingConfig.model_fields),
)
"""The same command with other values of these goes on; on a finished run it only writes them into the model."""


DrawBatch = Callable[
    [LatentSampler, Tokenizer | PairedTokenizer, DitTrainRecipe, TrainState, World, Generator | None], Batch
]
"""This rank's share of the batch of one step, the same when resumed; last of all the model that was begun from."""


def train_dit(
    loaded: Loaded[DitTrainRecipe],
    *,
    latents: Path,
    vae: Path,
    out: Path,
    init: Path | None = None,
    fork_of: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
    draw: DrawBatch | None = None,
) -> Path:
    """Train a DiT, or go on with a run.

    Args:
        loaded: The recipe and the origin of its values.
        latents: A cache of ``sora latents cache``.
        vae: The VAE the cache was made with; it is put into the model.
        out: The run folder.
        fork_of: A run whose last checkpoint this new one begins with, also where the recipe differs; it stays as it is.
        init: A model to begin from, with its text encoder and tokens; None begins from nothing.
        device: As ``--device``.
        reporter: Who is told.
        draw: What is learnt at a step, with its targets; None: what the data say.

    Returns:
        ``out``; in ``out/model`` is the whole model, or the adapter of ``init`` if the recipe asks for one.

    Raises:
        Stopped: After a stop on request; everything is saved.
        SoraError: For anything a user can put right.
    """
    recipe, reporter, drawn = loaded.recipe, reporter or SilentReporter(), draw or _from_data
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signals())
        world = stack.enter_context(open_world(device, recipe.loop.rank_timeout))
        sharding = open_sharding(world, recipe.shard_ranks)
        set_threads(recipe.loop.num_threads)
        cache = LatentCache(latents)
        check_vae(cache, vae)
        check_patch(cache, recipe)
        sampler = LatentSampler(cache, recipe.samples, recipe.caption)
        frozen = open_frozen(recipe.text, fetch=True)
        start = load_start(init, cache, recipe, frozen)
        check_adapters(recipe, init, cache.spec.channels, frozen)
        resolved = {**recipe.model_dump(mode="json"), "latents": cache.content_hash}
        if start is not None:
            resolved["init"] = start.model_hash
        if frozen is not None:
            resolved["frozen"] = frozen.hash
        text = recipe_text(recipe, loaded.origins)
        changes = may_change(recipe.loop, *_MAY_CHANGE)
        defaults = type(recipe)().model_dump(mode="json")
        entered = partial(open_run, out, text, resolved, changes, reporter.note, defaults, fork_of)
        on_main(lambda: bool(stack.enter_context(entered())), world)
        run = RunFolder(out, False)
        tokenizer = learn_tokenizer(cache, recipe, frozen) if start is None else start.tokenizer
        channels = cache.spec.channels
        state = build_state(recipe, channels, world, sharding=sharding, frozen=frozen, start=start, init=init)
        model, optimiser = state.model, state.optimiser
        assert isinstance(model, DiTWithText)
        if load_train_state(run.checkpoints, state, reporter.note, world.device):
            reporter.note(tell_resumed(out, state.step, recipe.loop.steps))

        metrics = stack.enter_context(
            open_metrics(
                run.metrics if world.is_main else None,
                state.step,
                out / "tensorboard" if recipe.loop.tensorboard else None,
            )
        )
        task = stack.enter_context(reporter.task("dit train", recipe.loop.steps, "step"))
        task.advance(state.step)
        speedometer, told = None, not recipe.samples.max_tokens
        while state.step < recipe.loop.steps:
            began = time.perf_counter()
            told = told or tell_left_out(sampler, tokenizer, recipe, state.step, reporter.note)
            batch = drawn(sampler, tokenizer, recipe, state, world, start)
            if speedometer is None:
                speedometer = build_speedometer(model, sampler, tokenizer, recipe, batch, world)
                reporter.note(f"matrix products of this model: {speedometer.rate / 1e12:.3g} TFLOP/s here")
                began = time.perf_counter()
            left_out = optimiser.left_out
            figures = learn(model, batch, recipe, state, world)
            state.step += 1
            pace = speedometer.figures(batch, time.perf_counter() - began, state.step)
            task.advance(1, loss=figures["loss"], **shown(pace, figures["skipped_updates"]))
            if is_due(state.step, recipe.loop.log_every) or optimiser.left_out > left_out:
                metrics.write(state.step, {**figures, **pace})
            if is_due(state.step, recipe.loop.eval_every):
                averaged = state.whole_average()
                if averaged is not None and world.is_main:
                    metrics.write(state.step, validate(averaged, sampler, tokenizer, recipe, world))
            level = agree_on_stop(flag.level, world)
            if level or is_due(state.step, recipe.loop.save_every) or state.step == recipe.loop.steps:
                _save(run, state, recipe, world)
            if is_due(state.step, recipe.loop.sample_every):
                averaged = state.whole_average()
                on_main(partial(show_draft, state, averaged, tokenizer, cache, recipe, run, vae, world), world)
            if level and state.step < recipe.loop.steps:
                reason = signal_name(level) or ""
                on_main(partial(write_stopped, out, reason), world)
                raise Stopped(f"{reason} after step {state.step}: everything is saved; the same command goes on")
        averaged = state.whole_average()
        on_main(lambda: finish(run, state, averaged, tokenizer, cache, recipe, vae, init), world)
    return out


def _save(run: RunFolder, state: TrainState, recipe: DitTrainRecipe, world: World) -> None:
    """Write a checkpoint: rank 0 if it holds everything, else each rank what it holds."""
    save = partial(save_train_state, run.checkpoints, state, recipe.loop.keep_checkpoints)
    if state.sharding is None:
        on_main(lambda: str(save()), world)
    else:
        save()


def _from_data(
    sampler: LatentSampler,
    tokenizer: Tokenizer | PairedTokenizer,
    recipe: DitTrainRecipe,
    state: TrainState,
    world: World,
    start: Generator | None,
) -> Batch:
    return draw_batch(sampler, tokenizer, recipe, state.step, world)
