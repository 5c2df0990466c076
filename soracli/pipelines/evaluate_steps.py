"""``sora dit eval --steps``: what fewer steps cost, as obedience and as a distance to true renders at each number."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soracli.core.errors import UsageError
from soracli.core.progress import Reporter, SilentReporter
from soracli.metrics.frechet import frechet_distance, project
from soracli.metrics.intervals import Share, wilson_share
from soracli.metrics.obedience import QUESTIONS, Obedience, score_scene
from soracli.models.image_features import find_feature_weights, load_feature_network, picture_features
from soracli.models.judge import Judge
from soracli.models.judge_store import load_judge
from soracli.pipelines.evaluate_dit import find_judge
from soracli.pipelines.evaluate_obedience import SHOWN_FRAMES, render, some_frames
from soracli.pipelines.judge import judge_video, scaled_square
from soracli.pipelines.plan_generation import plan_generation
from soracli.pipelines.video_maker import VideoMaker, open_model
from soracli.pipelines.world_prompts import WORLD_SEEDS, draw_prompts
from soracli.training.device import choose_device

_DIMENSIONS = 64
FEWEST_PROMPTS = 4
"""A distance between sets of fewer videos says nothing."""

Describe = Callable[[Tensor], Tensor]
"""Features ``(N, D)`` of pictures ``(N, H, W, 3)`` uint8."""


@dataclass(frozen=True, kw_only=True)
class StepsRow:
    """What one number of steps gives.

    Attributes:
        num_steps: Steps of each block.
        seconds: That making a video took, on average.
        obeyed: Shares of prompts by question; questions that nobody asks are left out.
        frechet: Fréchet distance of its frames to those of renders of other scenes.
    """

    num_steps: int
    seconds: float
    obeyed: Mapping[str, Share]
    frechet: float


@dataclass(frozen=True, kw_only=True)
class StepsReport:
    """The curve; ``dataclasses.asdict`` of it is plain JSON values.

    Attributes:
        model: What was evaluated.
        settings: What all videos were made with, but for the number of steps.
        rows: In the order asked for.
        renders: The same of true renders of the prompts' scenes: the judge's own errors, and the floor of the distance.
        features: What the distance is between.
        protocol: What was measured, for people.
    """

    model: str
    settings: Mapping[str, Any]
    rows: tuple[StepsRow, ...]
    renders: StepsRow
    features: str
    protocol: str


def evaluate_steps(
    model: Path,
    steps: Sequence[int],
    *,
    prompts: int = 64,
    seconds: float = 4.0,
    seed: int = 0,
    judge: Path | None = None,
    adapter: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
    open_maker: Callable[[int], VideoMaker] | None = None,
) -> StepsReport:
    """Make the same prompts with the same noise at every number of steps, all else as ``sora generate`` has it.

    Args:
        model: A model folder or a finished run.
        steps: Numbers of steps.
        prompts: World prompts, those of ``sora dit eval``.
        seconds: Length of their videos.
        seed: Decides prompts and videos.
        judge: A judge's folder or run; None takes the model's own, or that which comes with sora.
        adapter: An adapter trained on the model, or the run that trained it.
        device: As ``--device``.
        reporter: Who is told of progress.
        open_maker: What makes videos with a number of steps; None loads the model.

    Raises:
        UsageError: If there are too few prompts, or the model was not taught a number of steps.
        DataError: If videos are too short to be judged.
        ArtifactError: If there is no whole model, no judge, or the adapter is one of another model.
    """
    reporter, place = reporter or SilentReporter(), choose_device(device)
    if prompts < FEWEST_PROMPTS:
        raise UsageError(f"--steps compares sets of videos: --prompts must be at least {FEWEST_PROMPTS}, got {prompts}")
    if open_maker is None:
        for num_steps in steps:  # all of them, before any is made
            plan_generation("a video", model=model, seed=0, adapter=adapter, num_steps=num_steps)
    opened = open_maker or (lambda num_steps: open_model(model, place, adapter, num_steps=num_steps))
    judge_model = load_judge(find_judge(judge, model), place)
    features, describe = choose_features(judge_model, place)
    asked, others = draw_prompts(prompts, seed), draw_prompts(prompts, seed + prompts)
    rows, settings = list[tuple[int, float, list[Obedience], Tensor]](), dict[str, Any]()
    with reporter.task("steps", (len(steps) + 2) * prompts, "video") as task:
        maker = opened(steps[0])
        settings = {name: value for name, value in maker.settings.items() if name != "num_steps"}
        reference = []
        for prompt in others:
            reference.append(describe(some_frames(render(prompt.scene, maker, seconds, place))))
            task.advance(1)
        for num_steps in (0, *steps):  # none: the renders themselves
            maker = opened(num_steps) if num_steps not in (0, steps[0]) else maker
            right, found, took = list[Obedience](), list[Tensor](), 0.0
            for number, prompt in enumerate(asked):
                began = time.perf_counter()
                if num_steps:
                    frames = maker.make(prompt.text, seed + number, seconds)
                else:
                    frames = render(prompt.scene, maker, seconds, place)
                took += time.perf_counter() - began
                right.append(score_scene(prompt.asked, judge_video(judge_model, frames, maker.fps)))
                found.append(describe(some_frames(frames)))
                task.advance(1, steps=num_steps)
            rows.append((num_steps, took / prompts, right, torch.cat(found)))
    renders, *curve = _rows(rows, torch.cat(reference))
    return StepsReport(
        model=str(model),
        settings=settings,
        rows=tuple(curve),
        renders=renders,
        features=features,
        protocol=_protocol(prompts, seconds, seed, features),
    )


def choose_features(judge: Judge, device: torch.device) -> tuple[str, Describe]:
    """Features of an ImageNet network where its weights are installed, else what the judge sees; with their name.

    Raises:
        ArtifactError: If the weights that are installed are not those that are known.
    """
    if find_feature_weights() is None:
        return "what the judge sees", lambda frames: judge_features(judge, frames)
    network = load_feature_network(device)
    return "EfficientNet-Lite0", lambda frames: picture_features(network, frames)


@torch.inference_mode()
def judge_features(judge: Judge, frames: Tensor) -> Tensor:
    """How much of each colour, shape and size there is in a frame, and the camera's pose.

    Args:
        judge: A trained judge.
        frames: ``(T, H, W, 3)`` uint8.

    Returns:
        ``(T, 1 + colours + shapes + sizes + 3)`` on the CPU.
    """
    side = min(frames.shape[1:3])
    top, left = (frames.shape[1] - side) // 2, (frames.shape[2] - side) // 2
    seen = judge.look(scaled_square(judge, frames, top, left)[None].to(next(judge.parameters()).device))
    there = seen.there[0].sigmoid()[:, None]  # (T, 1, M, M)
    words = [there * logits[0].softmax(1) for logits in (seen.colour, seen.shape, seen.size)]
    return torch.cat([*(part.mean((2, 3)) for part in (there, *words)), seen.pose[0]], 1).cpu()


def _rows(found: Sequence[tuple[int, float, Sequence[Obedience], Tensor]], reference: Tensor) -> list[StepsRow]:
    """Shares and distances, in the leading components of the reference."""
    reference, *features = project(reference, *(own for *_, own in found), dimensions=_DIMENSIONS)
    return [
        StepsRow(num_steps=num_steps, seconds=took, obeyed=_shares(right), frechet=frechet_distance(own, reference))
        for (num_steps, took, right, _), own in zip(found, features, strict=True)
    ]


def _shares(scores: Sequence[Obedience]) -> dict[str, Share]:
    asked = {
        question: [answer for score in scores if (answer := getattr(score, question)) is not None]
        for question in QUESTIONS
    }
    return {question: wilson_share(sum(answers), len(answers)) for question, answers in asked.items() if answers}


def _protocol(prompts: int, seconds: float, seed: int, features: str) -> str:
    return (
        f"{prompts} prompts from scenes of the world {WORLD_SEEDS + seed}, as sora dit eval has them; prompt i with "
        f"seed {seed} + i at every number of steps, {seconds:g} s; a prompt is right when all its objects are; in "
        f"brackets Wilson's 95 % intervals; Fréchet distance of {features} of {SHOWN_FRAMES} frames of each video at "
        f"most, in the {_DIMENSIONS} leading components of renders of {prompts} other scenes, to those renders; it "
        "depends on the number of prompts, so compare it with that of the renders of the prompts' own scenes"
    )
