"""How often the judge is right, on scenes it never saw: the figures that must come before any it gives of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from soracli.core.progress import Reporter, SilentReporter
from soracli.data.judge_clips import scene_clips
from soracli.data.world.grammar import Scene, sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from soracli.metrics.obedience import ObjectWords, SceneWords, confusion_table, match_objects
from soracli.models.judge import Judge
from soracli.pipelines.judge import judge_frames, judge_input

WORLD_SEED = 7002
"""A world that neither the judge nor any generator is trained on."""
_BATCH = 25


@dataclass(frozen=True)
class JudgeReport:
    """What a judge got right.

    Attributes:
        scenes: Videos judged.
        objects: Objects in them.
        accuracy: Share of objects whose ``colour``, ``shape``, ``colour_and_shape``, ``size`` or ``motion`` is right
            (one that was not found is wrong in all), and of scenes whose ``count``, ``ground`` or ``camera`` is right.
        words: The words of each table, in order.
        confusion: By attribute, how often what is (row) was taken for what (column), of the objects that were found.
        mistakes: Of each scene with any: its index, what is, what was said.
    """

    scenes: int
    objects: int
    accuracy: dict[str, float]
    words: dict[str, list[str]]
    confusion: dict[str, list[list[int]]]
    mistakes: list[dict[str, Any]]


def score_judge(
    judge: Judge,
    *,
    num_scenes: int = 300,
    num_objects: int | None = 1,
    seed: int = WORLD_SEED,
    degrade: Callable[[Tensor], Tensor] | None = None,
    fps: float = 12.0,
    reporter: Reporter | None = None,
) -> JudgeReport:
    """Judge fresh renders whose truth is known.

    Args:
        judge: A trained judge.
        num_scenes: How many.
        num_objects: Objects in each; 1 is the judge's own examination, None draws 1 to 3 as the world does.
        seed: Which world.
        degrade: What is done to each video ``(T, S, S, 3)`` uint8 before it is judged, such as going through a VAE;
            the whole first seconds are drawn at ``fps`` for it. None judges what is drawn.
        fps: Frames a second of what ``degrade`` gets.
        reporter: Told how far it is.
    """
    scenes = [sample_scene(seed, index, split="any", num_objects=num_objects) for index in range(num_scenes)]
    pairs: dict[str, list[tuple[str, str]]] = {name: [] for name in ("colour", "shape", "size", "motion")}
    pairs |= {"ground": [], "camera": []}
    right: dict[str, list[bool]] = {name: [] for name in (*pairs, "colour_and_shape", "count")}
    mistakes = []
    with (reporter or SilentReporter()).task("scoring the judge", num_scenes, "videos") as task:
        for scene, frames in _videos(judge, scenes, degrade, fps):
            seen, truth = judge_frames(judge, frames), scene_words(scene)
            before = {name: len(answers) - sum(answers) for name, answers in right.items()}
            _compare(truth, seen, pairs, right)
            if any(len(answers) - sum(answers) > before[name] for name, answers in right.items()):
                mistakes.append({"index": scene.index, "is": asdict(truth), "said": asdict(seen)})
            task.advance(1)
    config = judge.config
    lists = {
        "colour": config.colours,
        "shape": config.shapes,
        "size": config.sizes,
        "motion": config.motions,
        "ground": config.grounds,
        "camera": config.cameras,
    }
    return JudgeReport(
        scenes=num_scenes,
        objects=sum(len(scene.objects) for scene in scenes),
        accuracy={name: sum(answers) / max(1, len(answers)) for name, answers in right.items()},
        words={name: list(words) for name, words in lists.items()},
        confusion={name: confusion_table(pairs[name], words) for name, words in lists.items()},
        mistakes=mistakes,
    )


def scene_words(scene: Scene) -> SceneWords:
    """The truth about a scene in the words that a judge answers with."""
    objects = tuple(
        ObjectWords(colour=item.colour, shape=item.shape, size=item.size, motion=item.motion) for item in scene.objects
    )
    return SceneWords(objects=objects, ground=scene.ground, camera=scene.camera, count=len(objects))


def report_text(report: JudgeReport) -> str:
    """Figures and tables for people."""
    lines = [f"{report.scenes} videos, {report.objects} objects"]
    lines += [f"  {name:17} {100 * share:6.2f} %" for name, share in report.accuracy.items()]
    for name, table in report.confusion.items():
        words = report.words[name]
        width = max(map(len, words)) + 1
        lines.append(f"{name}: rows are what is, columns what was said")
        lines.append(" " * (width + 2) + " ".join(f"{word[:11]:>11}" for word in words))
        lines += [
            f"  {word:{width}}" + " ".join(f"{number:11d}" for number in row)
            for word, row in zip(words, table, strict=True)
        ]
    return "\n".join(lines)


def _compare(
    truth: SceneWords, seen: SceneWords, pairs: dict[str, list[tuple[str, str]]], right: dict[str, list[bool]]
) -> None:
    for want, number in zip(truth.objects, match_objects(truth.objects, seen.objects), strict=True):
        got = ObjectWords() if number is None else seen.objects[number]
        right["colour_and_shape"].append(want.colour == got.colour and want.shape == got.shape)
        for name in ("colour", "shape", "size", "motion"):
            true, said = getattr(want, name), getattr(got, name)
            right[name].append(true == said)
            if said is not None:
                pairs[name].append((true, said))
    for name in ("ground", "camera"):
        true, said = getattr(truth, name), getattr(seen, name)
        right[name].append(true == said)
        pairs[name].append((true, said))
    right["count"].append(len(truth.objects) == len(seen.objects))


def _videos(
    judge: Judge, scenes: Sequence[Scene], degrade: Callable[[Tensor], Tensor] | None, fps: float
) -> Iterator[tuple[Scene, Tensor]]:
    """Scenes and the frames that the judge looks at."""
    config = judge.config
    for first in range(0, len(scenes), _BATCH):
        some = scenes[first : first + _BATCH]
        if degrade is None:
            drawn = scene_clips(
                some, num_frames=config.num_frames, seconds_between=config.seconds_between, side=config.side
            )
            for scene, frames in zip(some, drawn["frames"], strict=True):
                yield scene, judge_input(judge, frames, 1 / config.seconds_between)
            continue
        num_frames = round((config.num_frames - 1) * config.seconds_between * fps) + 1
        times = torch.arange(num_frames) / fps
        position = simulate(some, times).position
        for row, scene in enumerate(some):
            frames = render_scene(scene, position[row], times, config.side, config.side).frames
            yield scene, judge_input(judge, degrade(frames), fps)
