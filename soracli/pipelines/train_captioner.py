"""``sora caption train``: scenes and captioned clips in, a captioner out.

The loop, top to bottom: draw scenes once; draw a batch of one kind from (seed, step, sample), see, write, pay, step,
average; now and then log, caption held-out scenes, save. A run that falls apart goes back to its last checkpoint. The
same call goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soracli.core.errors import NumericsError, Stopped, UsageError
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.caption_pool import CaptionPool, CaptionSample, captioned, draw_stage
from soracli.data.caption_scenes import scene_drawer
from soracli.data.config import CaptionStage
from soracli.data.drawn_scenes import write_drawn
from soracli.data.manifest import clips_content
from soracli.models.caption_tokens import caption_tokens
from soracli.models.captioner import Captioner
from soracli.models.captioner_loss import contrastive_loss, language_loss
from soracli.models.captioner_store import save_captioner
from soracli.models.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer
from soracli.pipelines.recipes import CaptionTrainRecipe
from soracli.pipelines.score_captions import caption_scenes, scene_clips, world_figures
from soracli.recipe.load import Loaded
from soracli.recipe.write import recipe_text
from soracli.training.config import is_due, may_change
from soracli.training.device import DTYPES, mixed_precision, product_dtype, set_threads
from soracli.training.distributed import (
    World,
    agree_on_stop,
    all_mean,
    average_gradients,
    barrier,
    gather_rows,
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

_EVAL_SCENES = 64
_OUTER_LAYERS = ("stem", "*embed*", "head*")

See = Callable[[Tensor, Tensor], Tensor]


def train_captioner(
    loaded: Loaded[CaptionTrainRecipe],
    *,
    clips: Path | None,
    out: Path,
    fork_of: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Train a captioner, or go on with a run.

    Args:
        loaded: The recipe and the origin of its values.
        clips: Manifest of captioned clips; needed when ``data.world_share`` is under 1.
        out: The run folder; drawn scenes are kept in ``out/scenes`` and ``out/held_out``.
        fork_of: A run whose last checkpoint this new one begins with, also where the recipe differs; it stays as it is.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``; the captioner is in ``out/model/captioner``.

    Raises:
        Stopped: After a stop on request; everything is saved.
        NumericsError: If it diverged more often than ``guard.rollbacks``; the last good checkpoint is there.
        SoraError: For anything a user can put right.
    """
    recipe, reporter = loaded.recipe, reporter or SilentReporter()
    check_clips(recipe, clips)
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signals())
        world = stack.enter_context(open_world(device, recipe.loop.rank_timeout))
        check_shares(recipe, world.size)
        content = clips_content(clips)
        resolved = {**recipe.model_dump(mode="json"), "clips": str(clips) if clips else "", **content}
        text = recipe_text(recipe, loaded.origins)
        defaults = {**CaptionTrainRecipe().model_dump(mode="json"), **content}
        entered = partial(open_run, out, text, resolved, may_change(recipe.loop), reporter.note, defaults, fork_of)
        on_main(lambda: bool(stack.enter_context(entered())), world)
        run = RunFolder(out, False)
        set_threads(recipe.loop.num_threads)
        pool = CaptionPool(recipe.data, recipe.captioner.side, out / "scenes", clips)
        on_main(lambda: _keep_tokenizer(run, pool, recipe), world)
        tokenizer = load_tokenizer(out)
        _draw(recipe, out, world, reporter, lambda: bool(flag))

        seed_global(recipe.loop.seed, "weights")
        captioner = Captioner(recipe.captioner).to(world.device)
        products = product_dtype(recipe.loop.precision, world.device)
        optimiser = build_optimiser(captioner.named_parameters(), recipe.optimiser, _OUTER_LAYERS, products)
        state = begin_state(captioner, optimiser, recipe.loop)
        see: See = torch.compile(captioner.see, dynamic=False) if recipe.compile else captioner.see
        if load_train_state(run.checkpoints, state, reporter.note, world.device):
            reporter.note(tell_resumed(out, state.step, recipe.loop.steps))
        guard = Guard(recipe.guard, ceilings=("loss",))

        board = out / "tensorboard" if recipe.loop.tensorboard else None
        metrics = stack.enter_context(open_metrics(run.metrics if world.is_main else None, state.step, board))
        task = stack.enter_context(reporter.task("caption train", recipe.loop.steps, "step"))
        task.advance(state.step)
        owed = False
        level = agree_on_stop(flag.level, world)
        while state.step < recipe.loop.steps and not level:
            seed = derive_seed(recipe.loop.seed, "rollback", state.rollbacks) if state.rollbacks else recipe.loop.seed
            state.slow_down(0.5**state.rollbacks)
            is_last = state.step + 1 == recipe.loop.steps
            stage = draw_stage(recipe.data, state.step, generator_for(seed, "stage", state.step))
            if state.step and stage.short_share < 1 and _is_switch(recipe, state.step):
                reporter.note(f"long captions from step {state.step} on")
            try:
                samples = _batch(pool, stage, seed, state.step, world)
                figures = _learn(captioner, see, tokenizer, samples, state, recipe, world)
                guard.watch(figures)
            except NumericsError as error:
                guard.give_up(str(error))
            if guard.has_diverged or (is_last and not guard.is_calm):
                done = state.step
                roll_back(run.checkpoints, state, guard, reporter.note, world.device)
                metrics.rewind(state.step)
                task.advance(state.step - done)
                continue
            state.step += 1
            task.advance(1, loss=figures["loss"], paired=figures["paired"])
            if is_due(state.step, recipe.loop.log_every):
                metrics.write(state.step, figures)
            if is_due(state.step, recipe.loop.eval_every) and world.is_main:
                metrics.write(state.step, _evaluate(averaged(state), tokenizer, recipe, out))
            level = agree_on_stop(flag.level, world)
            owed = owed or bool(level) or is_last or is_due(state.step, recipe.loop.save_every)
            if owed and guard.is_calm:
                on_main(lambda: str(save_train_state(run.checkpoints, state, recipe.loop.keep_checkpoints)), world)
                owed = False
        if level and state.step < recipe.loop.steps:
            reason = signal_name(level) or ""
            on_main(partial(write_stopped, out, reason), world)
            kept = "everything is saved" if guard.is_calm else f"the last good state is saved ({guard.reason})"
            raise Stopped(f"{reason} after step {state.step}: {kept}; the same command goes on")
        if pool.broken:
            reporter.note(f"{pool.broken} clips could not be read and were left out; sora clips index names them")
        on_main(lambda: _finish(state, tokenizer, recipe, run), world)
    return out


def check_clips(recipe: CaptionTrainRecipe, clips: Path | None) -> None:
    """Whether there is something to learn from, before anything is built.

    Raises:
        DataError: If the manifest cannot be read or has no captions.
        UsageError: If clips are given and the recipe shows none of them.
    """
    if clips is not None and recipe.data.world_share == 1:
        raise UsageError("--clips is given, but data.world_share = 1 leaves all samples to the world: --set it lower")
    if clips is not None:
        captioned(clips)


def check_shares(recipe: CaptionTrainRecipe, ranks: int) -> None:
    """Whether every batch divides among the ranks.

    Raises:
        UsageError: Naming the key and the nearest valid value.
    """
    for number, stage in enumerate(recipe.data.stages):
        if stage.batch_size % ranks:
            more = stage.batch_size + -stage.batch_size % ranks
            raise UsageError(
                f"data.stages[{number}].batch_size = {stage.batch_size} does not divide among {ranks} ranks: use {more}"
            )


def averaged(state: TrainState) -> Captioner:
    """The averaged weights of a training."""
    captioner = state.ema.module
    assert isinstance(captioner, Captioner)
    return captioner


def _keep_tokenizer(run: RunFolder, pool: CaptionPool, recipe: CaptionTrainRecipe) -> None:
    """Learn tokens once: a resumed run must read texts as it began to."""
    if not (run.path / "tokenizer.json").exists():
        save_tokenizer(train_tokenizer(pool.texts(), recipe.captioner.vocabulary_size), run.path)


def _draw(recipe: CaptionTrainRecipe, out: Path, world: World, reporter: Reporter, stop: Callable[[], bool]) -> None:
    """Draw the scenes to learn from, every rank its share."""
    data = recipe.data
    if data.world_share > 0:
        draw = scene_drawer(data.world_seed, "train", data.scene_frames, data.seconds_between, recipe.captioner.side)
        share = (world.rank, world.size)
        write_drawn(out / "scenes", data.scenes, draw, reporter=reporter, stop=stop, share=share)
    barrier(world)


def _batch(pool: CaptionPool, stage: CaptionStage, seed: int, step: int, world: World) -> list[CaptionSample]:
    """This rank's share of the batch of one step."""
    numbers = share_of(range(stage.batch_size), world)
    return [pool.sample(generator_for(seed, "sample", step, number), stage) for number in numbers]


def _learn(
    captioner: Captioner,
    see: See,
    tokenizer: Tokenizer,
    samples: list[CaptionSample],
    state: TrainState,
    recipe: CaptionTrainRecipe,
    world: World,
) -> dict[str, float]:
    """One update; the figures are those of the whole batch."""
    frames = torch.stack([sample.frames for sample in samples]).to(world.device)
    times = torch.stack([sample.times for sample in samples]).to(world.device)
    told = caption_tokens(tokenizer, [sample.caption for sample in samples], recipe.captioner.max_tokens)
    told = told.to(world.device)
    with mixed_precision(recipe.loop.precision, world.device):
        seen = see(frames, times)
        said = captioner.tell(told.tokens, captioner.look(seen))
        video, text = captioner.embed_video(seen), captioner.embed_read(said.read, told.ends)
    language = language_loss(said.logits, told.targets)
    pairing, paired = contrastive_loss(gather_rows(video, world), gather_rows(text, world))
    # Each rank has the gradient of the whole comparison by its own rows: their sum is wanted, their mean is taken.
    (language + world.size * recipe.contrastive * pairing).backward()
    average_gradients(captioner.parameters(), world)
    values = torch.stack([language, pairing, paired]).tolist()
    language_value, pairing_value, paired_value = all_mean(values, world)
    figures = {
        "loss": language_value + recipe.contrastive * pairing_value,
        "language": language_value,
        "pairing": pairing_value,
        "paired": paired_value,
    }
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.average()
    return {**figures, **report.figures()}


def _is_switch(recipe: CaptionTrainRecipe, step: int) -> bool:
    """Whether stages of short captions alone have just ended."""
    before = [stage for stage in recipe.data.stages if stage.is_due(step - 1)]
    return all(stage.short_share == 1 for stage in before)


def _evaluate(captioner: Captioner, tokenizer: Tokenizer, recipe: CaptionTrainRecipe, out: Path) -> dict[str, float]:
    """Facts of captions of scenes with held-out combinations, of the next world."""
    config, data = recipe.captioner, recipe.data
    clips = scene_clips(
        out / "held_out",
        world_seed=data.world_seed + 1,
        split="held_out",
        count=_EVAL_SCENES,
        num_frames=config.num_frames,
        seconds=(data.scene_frames - 1) * data.seconds_between,
        side=config.side,
    )
    captions = list(caption_scenes(captioner, tokenizer, clips))
    return {f"held_out_{name}": value for name, value in world_figures(captions).items()}


def _finish(state: TrainState, tokenizer: Tokenizer, recipe: CaptionTrainRecipe, run: RunFolder) -> str:
    """Write the averaged weights."""
    facts = {"trained": {"steps": state.step, "recipe": "recipe.toml of the run", "seed": recipe.loop.seed}}
    return save_captioner(run.model / "captioner", averaged(state), tokenizer, facts, DTYPES[recipe.loop.store])
