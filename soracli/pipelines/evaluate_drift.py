"""How long videos change from their first seconds to their last, beside true renders of the same scenes.

What a scene changes by itself is no drift: of every figure the change that the true render has is taken away. Beside it
the same model with a plain sliding window. A video that stands still does not change either, so how much moves, against
the render, is measured too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from torch import Tensor

from soracli.core.progress import Reporter
from soracli.data.world.grammar import Scene
from soracli.metrics.drift import (
    WINDOW_SECONDS,
    Drift,
    WindowFigures,
    drift_between,
    largest_repeat,
    window_figures,
    window_ranges,
)
from soracli.metrics.obedience import ObjectWords, SceneWords, match_objects
from soracli.models.judge import Judge
from soracli.pipelines.evaluate_obedience import render, some_frames
from soracli.pipelines.find_objects import find_objects
from soracli.pipelines.video_maker import VideoMaker
from soracli.pipelines.world_prompts import WORLD_SEEDS, WorldPrompt, draw_prompts, prompt_for

SECONDS = 60.0
"""Length of a long video."""
FIRST_PROMPT = "a red ball bounces on green grass"
"""The README's own."""
GENERATED, RENDER = "generated", "render"
PICTURE = ("sharpness", "saturation", "contrast", "colourfulness")
OBJECTS = ("count", "colours", "sizes")
_ENDLESS = ("left", "right", "towards", "away", "bounce")
"""Motions that never come to rest: gliding knows no friction, and what bounces keeps its height."""


@dataclass(frozen=True, kw_only=True)
class WindowObjects:
    """What is found of the objects asked for in one window.

    Attributes:
        count: 1 if there are as many objects as asked for, else 0.
        colours: Share of them that are there with their colour and shape.
        sizes: Share of the sizes asked for that are right; None if none is asked for.
    """

    count: float
    colours: float
    sizes: float | None


@dataclass(frozen=True)
class LongFigures:
    """Figures of one long video.

    Attributes:
        windows: Of each window of five seconds.
        objects: Of each window.
        drift: Last window against first.
        largest_repeat: How much some stretch looks like an earlier window; 1 is an exact repeat.
        frozen: Windows in which nothing moves.
    """

    windows: list[WindowFigures]
    objects: list[WindowObjects]
    drift: Drift
    largest_repeat: float
    frozen: int


@dataclass(frozen=True)
class LongVideo:
    """One prompt's long videos.

    Attributes:
        prompt: The text.
        seed: The videos'.
        figures: By whose video it is: ``generated``, ``render`` of a scene that the prompt is true of, and with each
            plain window.
    """

    prompt: str
    seed: int
    figures: dict[str, LongFigures]


@dataclass(frozen=True)
class Mean:
    """A mean over videos.

    Attributes:
        mean: Of them.
        error: Its standard error; None with one video.
    """

    mean: float
    error: float | None


@dataclass(frozen=True)
class DriftFigures:
    """What holds of all long videos of one maker.

    Attributes:
        beyond_render: By figure the change from the first window to the last, less that of the render, in percentage
            points: of ``PICTURE`` per cent of the first window, of ``OBJECTS`` shares. Sizes are left out if no prompt
            names one.
        dynamic_degree: Mean motion over that of the renders; a frozen video has 0.
        last_dynamic_degree: The same of the last windows.
    """

    beyond_render: dict[str, Mean]
    dynamic_degree: float
    last_dynamic_degree: float


@dataclass(frozen=True)
class DriftReport:
    """Long videos one by one, figures by maker, and what was measured, for people."""

    videos: list[LongVideo]
    figures: dict[str, DriftFigures]
    protocol: str


def evaluate_drift(
    maker: VideoMaker,
    judge: Judge,
    *,
    count: int,
    windows: Sequence[int] = (),
    seed: int,
    device: torch.device,
    reporter: Reporter,
    seconds: float = SECONDS,
) -> tuple[DriftReport, list[Tensor]]:
    """Make long videos of scenes that never rest and measure how they change.

    Args:
        maker: The model.
        judge: A trained judge, who finds the objects.
        count: Videos: ``FIRST_PROMPT``, then prompts of ``long_prompts``.
        windows: Latent frames of plain sliding windows that are measured beside it.
        seed: Decides the prompts; video i has the seed ``seed + i``.
        device: Where scenes are drawn.
        reporter: Told how far it is.
        seconds: Length of each.

    Returns:
        The report, and of each generated video some frames to show.

    Raises:
        DataError: If videos are too short to be judged.
    """
    videos, shown = [], []
    with reporter.task("drift", count, "video") as task:
        for number, prompt in enumerate(long_prompts(count, seed)):
            asked = prompt.asked
            made = maker.make(prompt.text, seed + number, seconds)
            shown.append(some_frames(made))
            figures = {GENERATED: long_figures(judge, made, maker.fps, asked)}
            figures[RENDER] = long_figures(judge, render(prompt.scene, maker, seconds, device), maker.fps, asked)
            for window in windows:
                made = maker.make_sliding(prompt.text, seed + number, seconds, window)
                figures[sliding_name(window)] = long_figures(judge, made, maker.fps, asked)
            videos.append(LongVideo(prompt=prompt.text, seed=seed + number, figures=figures))
            task.advance(1)
    sources = [source for source in videos[0].figures if source != RENDER] if videos else []
    return (
        DriftReport(
            videos=videos,
            figures={source: drift_figures(videos, source) for source in sources},
            protocol=_protocol(count, seconds, seed, maker),
        ),
        shown,
    )


def sliding_name(window: int) -> str:
    """What a plain sliding window is called."""
    return f"sliding window of {window}"


def long_prompts(count: int, seed: int) -> list[WorldPrompt]:
    """``FIRST_PROMPT``, then short prompts of scenes that never rest, none held out, naming all that moves."""
    found = [prompt_for(FIRST_PROMPT, seed)]
    drawn = 0
    while len(found) < count:
        drawn += 16 * count
        found[1:] = [
            item
            for item in draw_prompts(drawn, seed)
            if item.style == "short"
            and not item.held_out
            and never_rests(item.scene)
            and (item.asked.camera or "still") == item.scene.camera
        ]
    return found[:count]


def never_rests(scene: Scene) -> bool:
    """Whether something moves for ever and the picture still comes back to what it was: no camera that moves in."""
    turns = scene.camera.startswith(("orbit", "pan"))
    return scene.camera != "move in" and (turns or any(item.motion in _ENDLESS for item in scene.objects))


def long_figures(judge: Judge, frames: Tensor, fps: float, asked: SceneWords) -> LongFigures:
    """Figures of a long video ``(T, H, W, 3)`` uint8 of a prompt.

    Raises:
        DataError: If a window is too short to be judged.
    """
    windows = window_figures(frames, fps)
    return LongFigures(
        windows=windows,
        objects=[
            compare_objects(asked, find_objects(judge, frames[first:end], fps).words)
            for first, end in window_ranges(frames, fps)
        ],
        drift=drift_between(windows[0], windows[-1]),
        largest_repeat=largest_repeat(frames, fps),
        frozen=sum(window.frozen for window in windows),
    )


def compare_objects(asked: SceneWords, found: Sequence[ObjectWords]) -> WindowObjects:
    """Compare objects that were found with those asked for, matched one to one."""
    pairs = [
        (want, ObjectWords() if number is None else found[number])
        for want, number in zip(asked.objects, match_objects(asked.objects, found), strict=True)
    ]
    sizes = [want.size == got.size for want, got in pairs if want.size is not None]
    return WindowObjects(
        count=float(len(found) == len(asked.objects)),
        colours=fmean((want.colour, want.shape) == (got.colour, got.shape) for want, got in pairs),
        sizes=fmean(sizes) if sizes else None,
    )


def drift_figures(videos: Sequence[LongVideo], source: str) -> DriftFigures:
    """Figures of one maker's videos beside their renders."""
    pairs = [(video.figures[source], video.figures[RENDER]) for video in videos]
    changes = {
        name: [getattr(ours.drift, name) - getattr(true.drift, name) for ours, true in pairs] for name in PICTURE
    }
    for name in OBJECTS:
        shares = [
            change - true_change
            for ours, true in pairs
            if (change := _share_change(ours, name)) is not None
            and (true_change := _share_change(true, name)) is not None
        ]
        changes |= {name: shares} if shares else {}
    return DriftFigures(
        beyond_render={name: _mean(values) for name, values in changes.items()},
        dynamic_degree=_dynamic_degree([(ours.windows, true.windows) for ours, true in pairs]),
        last_dynamic_degree=_dynamic_degree([(ours.windows[-1:], true.windows[-1:]) for ours, true in pairs]),
    )


def _share_change(figures: LongFigures, name: str) -> float | None:
    first, last = (getattr(figures.objects[place], name) for place in (0, -1))
    return None if first is None or last is None else 100 * (last - first)


def _dynamic_degree(pairs: Sequence[tuple[Sequence[WindowFigures], Sequence[WindowFigures]]]) -> float:
    """Mean motion of the first over that of the second; infinite if only the second stands still."""
    ours, true = (
        fmean(fmean(window.motion for window in side) for side in sides) for sides in zip(*pairs, strict=True)
    )
    return ours / true if true else math.inf if ours else 1.0


def _mean(values: Sequence[float]) -> Mean:
    return Mean(fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None)


def _protocol(count: int, seconds: float, seed: int, maker: VideoMaker) -> str:
    return (
        f"{count} videos of {seconds:g} s at {maker.fps:g} fps, {maker.width}x{maker.height}: '{FIRST_PROMPT}', then "
        f"short prompts from scenes of the world {WORLD_SEEDS + seed} in which something moves for ever, none of which "
        f"leaves a motion out; video i with seed {seed} + i; the first {WINDOW_SECONDS:g} s against the last, beside a "
        "true render of a scene that the prompt is true of: the change in per cent of the first seconds (sharpness, "
        "saturation, contrast, colourfulness) or of a share (count: as many objects as asked for; colours: of objects "
        "with their colour and shape; sizes: of those named), less the render's change, in percentage points, with the "
        "standard error of the mean over videos; dynamic degree: mean difference of neighbouring frames over the "
        "render's, 1 as much, 0 frozen; a window is frozen when neighbouring frames differ by less than an eighth of "
        "an 8-bit step; repeat: largest correlation of a window's changes with those of a later stretch, 1 for an "
        "exact repeat, high also for truly periodic motion; sliding window: the same model without a sink and without "
        "noise on what it remembers"
    )
