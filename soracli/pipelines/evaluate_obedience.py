"""Whether videos show what their prompts ask for, judged beside true renders of the same scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.core.progress import Reporter
from soracli.data.world.captions import Style
from soracli.data.world.grammar import Scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from soracli.metrics.intervals import Share, wilson_share
from soracli.metrics.obedience import QUESTIONS, Obedience, SceneWords, match_objects, score_scene
from soracli.models.judge import Judge
from soracli.pipelines.judge import judge_video
from soracli.pipelines.score_judge import score_judge
from soracli.pipelines.video_maker import VideoMaker
from soracli.pipelines.world_prompts import WORLD_SEEDS, WorldPrompt, draw_prompts

SOURCES = ("generated", "renders", "renders through the VAE")
GROUPS = ("all", "held out", "trained", "short", "long")
SHOWN_FRAMES = 8
_RENDERED_FRAMES = 60
"""Frames drawn at once: a minute does not fit everywhere."""


@dataclass(frozen=True)
class Answer:
    """What the judge said of one video.

    Attributes:
        seen: What it saw.
        right: Which questions come out as asked.
        objects_right: Of each object asked for, whether its colour and shape are right.
        motions_right: Of each, whether its motion is right.
    """

    seen: SceneWords
    right: Obedience
    objects_right: tuple[bool, ...]
    motions_right: tuple[bool, ...]


@dataclass(frozen=True)
class JudgedPrompt:
    """One prompt and its three videos.

    Attributes:
        prompt: The text.
        seed: The video's; ``sora generate PROMPT --seed SEED`` makes it again.
        style: ``short`` or ``long``.
        held_out: Whether it names a combination that training never shows.
        asked: What it asks for.
        answers: By source.
    """

    prompt: str
    seed: int
    style: Style
    held_out: bool
    asked: SceneWords
    answers: dict[str, Answer]


@dataclass(frozen=True)
class ObedienceReport:
    """What was asked, seen and right.

    Attributes:
        prompts: One by one.
        shares: By source, group and question (``QUESTIONS``, and ``object`` and ``object_motion``: of single objects);
            questions that nobody asks are left out.
        judge_isolated: Shares of objects that the judge itself has right on fresh renders of one object.
        protocol: What was measured, for people.
    """

    prompts: list[JudgedPrompt]
    shares: dict[str, dict[str, dict[str, Share]]]
    judge_isolated: dict[str, Share]
    protocol: str


def evaluate_obedience(
    maker: VideoMaker,
    judge: Judge,
    *,
    count: int,
    seconds: float,
    seed: int,
    judge_scenes: int,
    device: torch.device,
    reporter: Reporter,
) -> tuple[ObedienceReport, list[Tensor]]:
    """Make a video of each prompt and ask the judge about it.

    Args:
        maker: The model.
        judge: A trained judge.
        count: Prompts.
        seconds: Length of each video.
        seed: Decides the prompts; prompt i has the video seed ``seed + i``.
        judge_scenes: Fresh renders of one object that the judge is examined on; 0 leaves that out.
        device: Where scenes are drawn.
        reporter: Told how far it is.

    Returns:
        The report, and of each generated video ``SHOWN_FRAMES`` frames at most.

    Raises:
        DataError: If videos are too short to be judged.
    """
    judged, shown = [], []
    prompts = draw_prompts(count, seed)
    with reporter.task("obedience", count, "video") as task:
        for number, prompt in enumerate(prompts):
            frames = maker.make(prompt.text, seed + number, seconds)
            truth = render(prompt.scene, maker, seconds, device)
            videos = dict(zip(SOURCES, (frames, truth, maker.decode_again(truth)), strict=True))
            answers = {name: _answer(judge, prompt, video, maker.fps) for name, video in videos.items()}
            judged.append(_judged(prompt, seed + number, answers))
            shown.append(some_frames(frames))
            right = [item.answers["generated"].right.colour_and_shape for item in judged]
            task.advance(1, colour_and_shape=sum(map(bool, right)) / len(right))
    return (
        ObedienceReport(
            prompts=judged,
            shares={source: group_shares(judged, source) for source in SOURCES},
            judge_isolated=_examine(judge, judge_scenes, reporter) if judge_scenes else {},
            protocol=_protocol(count, seconds, seed, judge_scenes, maker),
        ),
        shown,
    )


def group_shares(judged: Sequence[JudgedPrompt], source: str) -> dict[str, dict[str, Share]]:
    """Shares of one source, by group and question."""
    members = {
        "all": judged,
        "held out": [item for item in judged if item.held_out],
        "trained": [item for item in judged if not item.held_out],
        "short": [item for item in judged if item.style == "short"],
        "long": [item for item in judged if item.style == "long"],
    }
    return {group: _shares([item.answers[source] for item in members[group]]) for group in GROUPS}


def render(scene: Scene, maker: VideoMaker, seconds: float, device: torch.device) -> Tensor:
    """The scene as it is, ``(T, H, W, 3)`` uint8, in the size, rate and length of the maker's videos."""
    times = torch.arange(maker.num_frames(seconds)) / maker.fps
    position = simulate([scene], times).position[0]
    parts = zip(position.split(_RENDERED_FRAMES), times.split(_RENDERED_FRAMES), strict=True)
    drawn = [
        render_scene(scene, where.to(device), when.to(device), maker.height, maker.width).frames.cpu()
        for where, when in parts
    ]
    return torch.cat(drawn)


def some_frames(frames: Tensor, most: int = SHOWN_FRAMES) -> Tensor:
    """At most so many frames, evenly from the first to the last."""
    return frames[torch.linspace(0, len(frames) - 1, min(most, len(frames))).round().long()].clone()


def _answer(judge: Judge, prompt: WorldPrompt, frames: Tensor, fps: float) -> Answer:
    seen = judge_video(judge, frames, fps)
    matched = [
        (want, None if number is None else seen.objects[number])
        for want, number in zip(prompt.asked.objects, match_objects(prompt.asked.objects, seen.objects), strict=True)
    ]
    return Answer(
        seen=seen,
        right=score_scene(prompt.asked, seen),
        objects_right=tuple(
            got is not None and (want.colour, want.shape) == (got.colour, got.shape) for want, got in matched
        ),
        motions_right=tuple(got is not None and want.motion == got.motion for want, got in matched),
    )


def _judged(prompt: WorldPrompt, seed: int, answers: dict[str, Answer]) -> JudgedPrompt:
    return JudgedPrompt(
        prompt=prompt.text,
        seed=seed,
        style=prompt.style,
        held_out=prompt.held_out,
        asked=prompt.asked,
        answers=answers,
    )


def _shares(answers: Sequence[Answer]) -> dict[str, Share]:
    asked = {
        question: [right for answer in answers if (right := getattr(answer.right, question)) is not None]
        for question in QUESTIONS
    }
    asked["object"] = [right for answer in answers for right in answer.objects_right]
    asked["object_motion"] = [right for answer in answers for right in answer.motions_right]
    return {question: wilson_share(sum(right), len(right)) for question, right in asked.items() if right}


def _examine(judge: Judge, scenes: int, reporter: Reporter) -> dict[str, Share]:
    report = score_judge(judge, num_scenes=scenes, num_objects=1, reporter=reporter)
    return {
        name: wilson_share(round(report.accuracy[name] * report.objects), report.objects)
        for name in ("colour_and_shape", "motion", "size")
    }


def _protocol(count: int, seconds: float, seed: int, judge_scenes: int, maker: VideoMaker) -> str:
    isolated = f"; the judge itself on {judge_scenes} fresh renders of one object" if judge_scenes else ""
    return (
        f"{count} prompts from scenes of the world {WORLD_SEEDS + seed}, which no training draws, short and long in "
        "turn, half of them naming an object (size, colour, shape, motion) of the tenth of combinations that "
        f"training never shows; prompt i with seed {seed} + i, {seconds:g} s at {maker.fps:g} fps, "
        f"{maker.width}x{maker.height}; a prompt is right when all its objects are, matched one to one; what a prompt "
        "does not name is not asked; in brackets Wilson's 95 % intervals; beside it the judge on true renders of the "
        f"same scenes, and on those through the model's VAE{isolated}"
    )
