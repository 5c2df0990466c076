"""Whether generated videos show what was asked for whole, and where the prompt says, beside renders of the same scenes.

Prompts of the world say where objects stand only against one another ("behind it, a red cube"), so that is the place
asked for; nothing says where in the frame. How far objects are from its middle stands beside it, for comparing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from soracli.core.progress import Reporter
from soracli.data.world.camera import camera_path
from soracli.data.world.grammar import Scene
from soracli.data.world.physics import simulate
from soracli.data.world.prompts import parse_prompt
from soracli.data.world.render import render_scene
from soracli.metrics.framing import Framing, Relation, ShownObjects, frame_objects
from soracli.metrics.intervals import Share, wilson_share
from soracli.models.judge import Judge
from soracli.pipelines.evaluate_obedience import render
from soracli.pipelines.find_objects import find_objects
from soracli.pipelines.judge import picked_frames
from soracli.pipelines.score_judge import scene_words
from soracli.pipelines.video_maker import VideoMaker
from soracli.pipelines.world_prompts import WORLD_SEEDS, WorldPrompt, draw_prompts

GENERATED = "generated"
BESIDE = ("renders", "renders through the VAE", "truth")
"""The judge on true renders, on those as the model's VAE leaves them, and what was drawn, without a judge."""


@dataclass(frozen=True)
class FramedPrompt:
    """One prompt and how its videos are framed.

    Attributes:
        prompt: The text.
        seed: The video's.
        answers: By source.
    """

    prompt: str
    seed: int
    answers: dict[str, Framing]


@dataclass(frozen=True)
class FramingFigures:
    """What holds of all prompts.

    Attributes:
        found: Objects asked for that are shown, by colour and shape.
        whole: Share of frames that show an object whole, over all objects asked for; one that is missing is never.
        whole_if_found: The same over those found; None if there are none, as the next.
        off_centre: Mean distance from the frame's middle, in half shorter sides, of those found.
        placed: Relations asked for that hold; None if none is asked for.
    """

    found: Share
    whole: float
    whole_if_found: float | None
    off_centre: float | None
    placed: Share | None


@dataclass(frozen=True)
class FramingReport:
    """What was asked and seen.

    Attributes:
        prompts: One by one.
        figures: By source.
        protocol: What was measured, for people.
    """

    prompts: list[FramedPrompt]
    figures: dict[str, FramingFigures]
    protocol: str


def evaluate_framing(
    maker: VideoMaker,
    judge: Judge,
    *,
    count: int,
    seconds: float,
    seed: int,
    device: torch.device,
    reporter: Reporter,
    beside: Sequence[str] = BESIDE,
) -> FramingReport:
    """Make a video of each prompt and see how it is framed.

    Args:
        maker: The model, at the size that it is asked about.
        judge: A trained judge.
        count: Prompts, all long ones, which say where objects stand if there are several; at least 1.
        seconds: Length of each video.
        seed: Decides the prompts; prompt i has the video seed ``seed + i``.
        device: Where scenes are drawn.
        reporter: Told how far it is.
        beside: What of ``BESIDE`` is measured too: it is the same for all models of one VAE, size and rate.

    Raises:
        DataError: If videos are too short to be judged.
    """
    framed = []
    with reporter.task("framing", count, "video") as task:
        for number, prompt in enumerate(draw_prompts(2 * count, seed)[1::2]):
            relations = asked_relations(prompt.text)
            answers = {
                source: frame_objects(prompt.asked.objects, relations, shown)
                for source, shown in _sources(maker, judge, prompt, seed + number, seconds, device, beside)
            }
            framed.append(FramedPrompt(prompt.text, seed + number, answers))
            task.advance(1)
    return FramingReport(
        prompts=framed,
        figures={name: framing_figures([item.answers[name] for item in framed]) for name in (GENERATED, *beside)},
        protocol=_protocol(count, seconds, seed, maker),
    )


def asked_relations(text: str) -> list[Relation]:
    """Where a prompt of the grammar says that its objects stand, to one another at the first frame."""
    parsed = parse_prompt(text)
    return [] if parsed is None else [(one, relation, two) for one, relation, two in parsed["relations"]]


def framing_figures(framings: Sequence[Framing]) -> FramingFigures:
    """Figures of one source; there is at least one object."""
    objects = [item for framing in framings for item in framing.objects]
    relations = [holds for framing in framings for holds in framing.relations]
    found = [item for item in objects if item.found]
    middles = [item.off_centre for item in found if item.off_centre is not None]
    return FramingFigures(
        found=wilson_share(len(found), len(objects)),
        whole=fmean(item.whole for item in objects),
        whole_if_found=fmean(item.whole for item in found) if found else None,
        off_centre=fmean(middles) if middles else None,
        placed=wilson_share(sum(relations), len(relations)) if relations else None,
    )


def true_objects(scene: Scene, times: Tensor, height: int, width: int) -> ShownObjects:
    """The objects of a scene as they are drawn at times ``(T,)``, without their edges' blending."""
    position = simulate([scene], times).position[0]  # (T, N, 3)
    drawn = render_scene(scene, position, times, height, width, samples=1).object_index.cpu()  # (T, H, W)
    path = camera_path(scene, times)
    numbers = torch.arange(len(scene.objects))
    return ShownObjects(
        words=scene_words(scene).objects,
        member=drawn[:, None] == numbers[:, None, None],  # (T, N, H, W)
        depth=((position - path.origin[:, None]) * path.forward[:, None]).sum(-1),  # (T, N)
    )


def _sources(
    maker: VideoMaker,
    judge: Judge,
    prompt: WorldPrompt,
    seed: int,
    seconds: float,
    device: torch.device,
    beside: Sequence[str],
) -> list[tuple[str, ShownObjects]]:
    videos = {GENERATED: maker.make(prompt.text, seed, seconds)}
    if set(beside) & set(BESIDE[:2]):
        videos[BESIDE[0]] = render(prompt.scene, maker, seconds, device)
    if BESIDE[1] in beside:
        videos[BESIDE[1]] = maker.decode_again(videos[BESIDE[0]])
    found = [(name, find_objects(judge, video, maker.fps)) for name, video in videos.items()]
    if BESIDE[2] in beside:
        times = torch.tensor(picked_frames(judge, len(videos[GENERATED]), maker.fps)) / maker.fps
        found.append((BESIDE[2], true_objects(prompt.scene, times, maker.height, maker.width)))
    return [(name, shown) for name, shown in found if name in (GENERATED, *beside)]


def _protocol(count: int, seconds: float, seed: int, maker: VideoMaker) -> str:
    return (
        f"{count} long prompts from scenes of the world {WORLD_SEEDS + seed}, prompt i with seed {seed} + i, "
        f"{seconds:g} s at {maker.fps:g} fps, {maker.width}x{maker.height}; an object is whole in a frame that shows "
        "it when no pixel of it lies at the frame's border; a relation (left, right, in front, behind) is looked at "
        "in the first frame that shows both objects; the distance from the frame's middle is in half shorter sides"
    )
