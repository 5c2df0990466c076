"""How long videos change from their first seconds to their last, beside true renders of the same scenes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.core.progress import Reporter
from soracli.metrics.drift import WINDOW_SECONDS, Drift, WindowFigures, drift_between, largest_repeat, window_figures
from soracli.pipelines.evaluate_obedience import render, some_frames
from soracli.pipelines.video_maker import VideoMaker
from soracli.pipelines.world_prompts import WORLD_SEEDS, WorldPrompt, draw_prompts, prompt_for

SECONDS = 60.0
"""Length of a long video."""
FIRST_PROMPT = "a red ball bounces on green grass"
"""The README's own."""


@dataclass(frozen=True)
class LongFigures:
    """Figures of one long video.

    Attributes:
        windows: Of each window of five seconds.
        drift: Last window against first.
        largest_repeat: How much some stretch looks like an earlier window; 1 is an exact repeat.
        frozen: Windows in which nothing moves.
    """

    windows: list[WindowFigures]
    drift: Drift
    largest_repeat: float
    frozen: int


@dataclass(frozen=True)
class LongVideo:
    """One prompt's long video beside its scene's.

    Attributes:
        prompt: The text.
        seed: The video's.
        generated: Its figures.
        render: Those of the true render of a scene that the prompt is true of.
    """

    prompt: str
    seed: int
    generated: LongFigures
    render: LongFigures


@dataclass(frozen=True)
class DriftReport:
    """Long videos one by one, and what was measured, for people."""

    videos: list[LongVideo]
    protocol: str


def evaluate_drift(
    maker: VideoMaker, *, count: int, seed: int, device: torch.device, reporter: Reporter, seconds: float = SECONDS
) -> tuple[DriftReport, list[Tensor]]:
    """Make long videos and measure how they change.

    Args:
        maker: The model.
        count: Videos: ``FIRST_PROMPT``, then the first short prompts of the evaluation of obedience.
        seed: Decides the prompts; video i has the seed ``seed + i``.
        device: Where scenes are drawn.
        reporter: Told how far it is.
        seconds: Length of each.

    Returns:
        The report, and of each generated video some frames to show.
    """
    videos, shown = [], []
    with reporter.task("drift", count, "video") as task:
        for number, prompt in enumerate(long_prompts(count, seed)):
            frames = maker.make(prompt.text, seed + number, seconds)
            shown.append(some_frames(frames))
            videos.append(
                LongVideo(
                    prompt=prompt.text,
                    seed=seed + number,
                    generated=long_figures(frames, maker.fps),
                    render=long_figures(render(prompt.scene, maker, seconds, device), maker.fps),
                )
            )
            task.advance(1)
    return DriftReport(videos, _protocol(count, seconds, seed, maker)), shown


def long_prompts(count: int, seed: int) -> list[WorldPrompt]:
    """``FIRST_PROMPT`` and short prompts of training's combinations."""
    others = [item for item in draw_prompts(4 * count, seed) if item.style == "short" and not item.held_out]
    return [prompt_for(FIRST_PROMPT, seed), *others][:count]


def long_figures(frames: Tensor, fps: float) -> LongFigures:
    """Figures of a long video ``(T, H, W, 3)`` uint8."""
    windows = window_figures(frames, fps)
    return LongFigures(
        windows=windows,
        drift=drift_between(windows[0], windows[-1]),
        largest_repeat=largest_repeat(frames, fps),
        frozen=sum(window.frozen for window in windows),
    )


def _protocol(count: int, seconds: float, seed: int, maker: VideoMaker) -> str:
    return (
        f"{count} videos of {seconds:g} s at {maker.fps:g} fps, {maker.width}x{maker.height}: '{FIRST_PROMPT}', then "
        f"short prompts from scenes of the world {WORLD_SEEDS + seed}; video i with seed {seed} + i; the first "
        f"{WINDOW_SECONDS:g} s against the last: distance of mean colours and difference of saturations (black 0, "
        "white 1), ratios of sharpness, contrast and motion; a window is frozen when neighbouring frames differ by "
        "less than an eighth of an 8-bit step; repeat: largest correlation of a window's changes with those of a later "
        "stretch, 1 for an exact repeat, high also for truly periodic motion; beside it the same of a true render of a "
        "scene that the prompt is true of"
    )
