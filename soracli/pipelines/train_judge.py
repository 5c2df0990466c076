"""Train the judge of world videos: draw scenes once, show them again and again in many bad states, measure.

One process, by design: it takes half an hour on one core. The same call goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.errors import Stopped
from soracli.core.files import write_json_atomic, write_text_atomic
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.config import JudgeDataConfig
from soracli.data.degrade import degrade_frames
from soracli.data.judge_clips import mirror_clips, read_judge_clips, write_judge_clips
from soracli.models.judge import Judge, JudgeMaps
from soracli.models.judge_loss import judge_loss
from soracli.models.judge_store import load_judge, save_judge
from soracli.pipelines.recipes import JudgeTrainRecipe
from soracli.pipelines.score_judge import JudgeReport, report_text, score_judge
from soracli.recipe.load import Loaded
from soracli.recipe.write import recipe_text
from soracli.training.config import is_due, may_change
from soracli.training.device import choose_device, mixed_precision, product_dtype, set_threads
from soracli.training.metrics_log import open_metrics
from soracli.training.optimiser import build_optimiser
from soracli.training.run_folder import RunFolder, open_run, write_stopped
from soracli.training.seeding import batch_indices, generator_for, seed_global
from soracli.training.signals import signal_name, stop_on_signals
from soracli.training.state import TrainState, begin_state, load_train_state, save_train_state, tell_resumed

_SHORTER_SHARE = 0.3
"""Share of steps that show only the beginning of each clip, for videos shorter than the judge's seconds."""
_SHORTEST = 8
EXAMINATION = 300
"""Fresh scenes in each part of the examination at the end."""
_EVAL_SCENES = 50


def train_judge(
    loaded: Loaded[JudgeTrainRecipe],
    *,
    out: Path,
    fork_of: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Train a judge, or go on with a run.

    Args:
        loaded: The recipe and the origin of its values.
        out: The run folder; the scenes are kept in ``out/scenes``.
        fork_of: A run whose last checkpoint this new one begins with, also where the recipe differs; it stays as it is.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``; the judge is in ``out/model/judge``, with a README that has its figures.

    Raises:
        Stopped: After a stop on request; everything is saved.
        SoraError: For anything a user can put right.
    """
    recipe, reporter = loaded.recipe, reporter or SilentReporter()
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signals())
        chosen = choose_device(device)
        text = recipe_text(recipe, loaded.origins)
        run = stack.enter_context(
            open_run(
                out,
                text,
                recipe.model_dump(mode="json"),
                may_change(recipe.loop),
                reporter.note,
                JudgeTrainRecipe().model_dump(mode="json"),
                fork_of,
            )
        )
        set_threads(recipe.loop.num_threads)
        write_judge_clips(
            out / "scenes",
            world_seed=recipe.data.world_seed,
            scenes=recipe.data.scenes,
            num_frames=recipe.judge.num_frames,
            seconds_between=recipe.judge.seconds_between,
            side=recipe.judge.side,
            reporter=reporter,
            stop=lambda: bool(flag),
        )

        seed_global(recipe.loop.seed, "weights")
        judge = Judge(recipe.judge).to(chosen)
        optimiser = build_optimiser(
            judge.named_parameters(),
            recipe.optimiser,
            ("stem", "head*"),
            product_dtype(recipe.loop.precision, chosen),
        )
        state = begin_state(judge, optimiser, recipe.loop)
        look = torch.compile(judge.look) if recipe.compile else judge.look
        if load_train_state(run.checkpoints, state, reporter.note, chosen):
            reporter.note(tell_resumed(out, state.step, recipe.loop.steps))

        board = out / "tensorboard" if recipe.loop.tensorboard else None
        metrics = stack.enter_context(open_metrics(run.metrics, state.step, board))
        task = stack.enter_context(reporter.task("judge train", recipe.loop.steps, "step"))
        task.advance(state.step)
        while state.step < recipe.loop.steps and not flag:
            frames, truth = judge_batch(recipe.data, out / "scenes", recipe.loop.seed, state.step)
            figures = _learn(
                judge, look, frames.to(chosen), {key: value.to(chosen) for key, value in truth.items()}, state, recipe
            )
            state.step += 1
            task.advance(1, loss=figures["loss"], motion=figures["motion"])
            if is_due(state.step, recipe.loop.log_every):
                metrics.write(state.step, figures)
            if is_due(state.step, recipe.loop.eval_every):
                metrics.write(state.step, _evaluate(state))
            if flag or is_due(state.step, recipe.loop.save_every) or state.step == recipe.loop.steps:
                save_train_state(run.checkpoints, state, recipe.loop.keep_checkpoints)
        if flag and state.step < recipe.loop.steps:
            reason = signal_name(flag.level) or ""
            write_stopped(out, reason)
            raise Stopped(f"{reason} after step {state.step}: everything is saved; the same command goes on")
        _finish(state, recipe, run, chosen, reporter)
    return out


def judge_batch(data: JudgeDataConfig, folder: Path, seed: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """What one step shows: scenes, half of them mirrored, each made worse in its own way.

    Args:
        data: The recipe's section.
        folder: Where the scenes are.
        seed: The run's seed.
        step: Index of the step.

    Returns:
        Frames ``(B, T, 3, S, S)`` in [-1, 1] and the truth as ``judge_loss`` takes it.
    """
    clips = read_judge_clips(folder, batch_indices(seed, data.scenes, data.batch_size, step))
    generator = generator_for(seed, "augment", step)
    clips = mirror_clips(clips, torch.rand(data.batch_size, generator=generator) < 0.5)
    num_frames = clips["frames"].shape[1]
    shorter, length = torch.rand(2, generator=generator).tolist()
    if shorter < _SHORTER_SHARE and num_frames > _SHORTEST:
        num_frames = _SHORTEST + int(length * (num_frames - _SHORTEST))
        for key in ("frames", "object_index", "centre", "pose"):
            clips[key] = clips[key][:, :num_frames]
    frames = clips.pop("frames").permute(0, 1, 4, 2, 3).float() / 255
    worse = [
        degrade_frames(
            clip,
            generator_for(seed, "degrade", step, row),
            blur=data.blur,
            noise=data.noise,
            colour_shift=data.colour_shift,
            blocks=data.blocks,
            faint=data.faint,
        )
        for row, clip in enumerate(frames)
    ]
    return torch.stack(worse) * 2 - 1, clips


def _learn(
    judge: Judge,
    look: Callable[[Tensor], JudgeMaps],
    frames: Tensor,
    truth: dict[str, Tensor],
    state: TrainState,
    recipe: JudgeTrainRecipe,
) -> dict[str, float]:
    with mixed_precision(recipe.loop.precision, frames.device):
        seen = look(frames)
    # Places and distances are measured in float32: half a pixel is too coarse to tell rolling from resting.
    maps = JudgeMaps(**{name: value.float() for name, value in vars(seen).items()})
    parts = judge_loss(judge, maps, truth)
    parts["loss"].backward()
    figures = dict(zip(parts, torch.stack(list(parts.values())).tolist(), strict=True))
    report = state.optimiser.step(state.step, recipe.loop.steps, figures["loss"])
    if report.applied:
        state.average()
    return {**figures, **report.figures()}


def _averaged(state: TrainState) -> Judge:
    judge = state.ema.module
    assert isinstance(judge, Judge)
    return judge


def _evaluate(state: TrainState) -> dict[str, float]:
    report = score_judge(_averaged(state), num_scenes=_EVAL_SCENES, num_objects=None)
    return {f"held_out_{name}": share for name, share in report.accuracy.items()}


def examine_judge(
    judge: Judge,
    *,
    num_scenes: int = EXAMINATION,
    degrade: Callable[[Tensor], Tensor] | None = None,
    reporter: Reporter | None = None,
) -> dict[str, JudgeReport]:
    """The judge's examination on fresh renders.

    Args:
        judge: A trained judge.
        num_scenes: Scenes in each part.
        degrade: As ``score_judge`` takes it.
        reporter: Told how far it is.

    Returns:
        A report of ``isolated`` (one object) and one of ``scenes`` (1 to 3 objects, as the world draws them).
    """
    return {
        name: score_judge(judge, num_scenes=num_scenes, num_objects=count, degrade=degrade, reporter=reporter)
        for name, count in (("isolated", 1), ("scenes", None))
    }


def _finish(
    state: TrainState, recipe: JudgeTrainRecipe, run: RunFolder, device: torch.device, reporter: Reporter
) -> None:
    """Write the averaged weights, read them back as anybody will, and examine those."""
    folder = run.model / "judge"
    save_judge(folder, _averaged(state), {"trained": {"steps": state.step, "seed": recipe.loop.seed}})
    judge = load_judge(folder, device)
    reports = examine_judge(judge, num_scenes=min(EXAMINATION, recipe.data.scenes), reporter=reporter)
    write_json_atomic(run.path / "examination.json", {name: report.__dict__ for name, report in reports.items()})
    write_text_atomic(folder / "README.md", _card(judge, recipe, reports))


def _card(judge: Judge, recipe: JudgeTrainRecipe, reports: dict[str, JudgeReport]) -> str:
    weights = sum(parameter.numel() for parameter in judge.parameters())
    data = recipe.data
    parts = [
        "# Judge of world videos",
        f"Says what a video of the built-in world shows: objects with colour, shape, size and first motion, the ground "
        f"and the camera's way. {weights} weights, stored in float16. Trained apart from every generator on "
        f"{data.scenes} renders of world {data.world_seed} for {recipe.loop.steps} steps of {data.batch_size} clips, "
        "blurred, noisy, recoloured and blocky.",
        "It knows this world only: other videos get an answer too, and a wrong one. An object is counted when it is "
        "seen in at least four of the frames looked at.",
        *(f"## {name}\n\n```text\n{report_text(report)}\n```" for name, report in reports.items()),
    ]
    return "\n\n".join(parts) + "\n"
