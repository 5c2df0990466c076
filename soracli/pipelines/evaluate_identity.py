"""Whether an object that was hidden comes back as it was: by the frame's edge or another object, for some seconds.

The model is given the true frames up to a moment at which the object is hidden, and a caption that says its shape but
not its colour; it goes on as ``sora extend`` does. What is found in its frames must be the object, in its colour, which
nothing but what the model remembers can tell it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.core.progress import Reporter
from soracli.data.world.grammar import Scene
from soracli.data.world.hiding import HIDDEN_BY, HiddenBy
from soracli.metrics.framing import ShownObjects
from soracli.metrics.intervals import Share, wilson_share
from soracli.metrics.obedience import ObjectWords
from soracli.models.judge import Judge
from soracli.pipelines.evaluate_obedience import SHOWN_FRAMES, some_frames
from soracli.pipelines.find_objects import find_objects
from soracli.pipelines.identity_cases import (
    LEAD,
    LONGEST,
    LOOK,
    SHORTEST,
    WORLD_SEEDS,
    Group,
    HiddenCase,
    find_cases,
    measured_groups,
)
from soracli.pipelines.judge import picked_frames
from soracli.pipelines.video_maker import VideoMaker

MADE, TRUE, THROUGH_VAE = "generated", "renders", "renders through the VAE"
"""Whose frames are looked at: the model's, the ceiling, and the ceiling of its VAE."""
SEEN, KEPT, KEPT_OF_SEEN = "seen again", "kept", "kept of those seen again"
FIGURES = (SEEN, KEPT, KEPT_OF_SEEN, *(f"{KEPT}, hidden by the {by}" for by in HIDDEN_BY))
"""What is counted; the last ones are of scenes of one kind."""


@dataclass(frozen=True)
class IdentityAnswer:
    """What was found in one video after the object was hidden.

    Attributes:
        found: All objects, the most seen first.
        colour: Of what came back with its shape; None if nothing did.
        hidden_seconds: How long it was hidden in this video; None if it did not come back.
        kept: Whether it came back in its colour.
    """

    found: tuple[ObjectWords, ...]
    colour: str | None
    hidden_seconds: float | None
    kept: bool


@dataclass(frozen=True)
class IdentityCase:
    """One scene and its videos.

    Attributes:
        group: Whether it was hidden ``inside`` what is remembered or ``beyond`` it.
        prompt: What the model was told.
        seed: That the video was made with.
        shape: Of the object that was hidden.
        colour: Its colour, which the prompt does not say.
        hidden_by: What hid it.
        hidden_seconds: How long it is hidden in the true scene.
        answers: By whose video it is.
    """

    group: Group
    prompt: str
    seed: int
    shape: str
    colour: str
    hidden_by: HiddenBy
    hidden_seconds: float
    answers: dict[str, IdentityAnswer]


@dataclass(frozen=True)
class IdentityReport:
    """What was hidden, and what came back.

    Attributes:
        cases: One by one.
        shares: By whose video, group and figure (``FIGURES``); those of which there is no case are left out.
        chance: By group, how many of those that were seen again in the model's videos have the colour of another
            scene's object, over all pairs of scenes; a group with fewer than two such scenes is left out.
        protocol: What was measured, for people.
    """

    cases: list[IdentityCase]
    shares: dict[str, dict[Group, dict[str, Share]]]
    chance: dict[Group, float]
    protocol: str


def evaluate_identity(
    maker: VideoMaker,
    judge: Judge,
    *,
    count: int = 32,
    seed: int,
    device: torch.device,
    reporter: Reporter,
) -> tuple[IdentityReport, list[Tensor]]:
    """Let a model go on with scenes in which an object is hidden, and look whether it comes back as it was.

    Args:
        maker: The model.
        judge: A trained judge, who finds the objects.
        count: Scenes of each group.
        seed: Decides the scenes; scene i of a group is gone on with with the seed ``seed + i``.
        device: Where scenes are drawn.
        reporter: Told how far it is.

    Returns:
        The report, and of each case ``SHOWN_FRAMES`` frames at most: half of what is given, from the last sight on, and
        half of what was made of it.

    Raises:
        UsageError: If no scene fits the model's memory.
        DataError: If videos are too short to be judged.
    """
    groups = measured_groups(maker.verbs.memory, maker.fps)
    cases: list[IdentityCase] = []
    shown: list[Tensor] = []
    with reporter.task("identity", count * len(groups), "video") as task:
        for group in groups:
            for number, case in enumerate(find_cases(maker, group, count, seed, device)):
                answered, made = _answered(maker, judge, group, case, seed + number)
                cases.append(answered)
                shown.append(torch.cat([some_frames(one, SHOWN_FRAMES // 2) for one in (_before(case), made)]))
                task.advance(1, kept=sum(one.answers[MADE].kept for one in cases) / len(cases))
    report = IdentityReport(
        cases=cases,
        shares={
            source: {group: _shares([case for case in cases if case.group == group], source) for group in groups}
            for source in (MADE, TRUE, THROUGH_VAE)
        },
        chance={
            group: chance
            for group in groups
            if (chance := _chance([case for case in cases if case.group == group])) is not None
        },
        protocol=_protocol(count, groups, seed, maker),
    )
    return report, shown


def recognise(scene: Scene, number: int, found: Sequence[ObjectWords]) -> int | None:
    """Which of the objects that were found is the one that was hidden, whatever its colour.

    Every other object of the scene is found first, by its colour and shape, else by its colour; of the rest the most
    seen one with the hidden one's shape is it.

    Args:
        scene: Whose objects differ in colour and in shape.
        number: Which of them was hidden.
        found: Objects, the most seen first.

    Returns:
        Its place in ``found``, None if it is not there.
    """
    left = list(range(len(found)))
    for other in (item for place, item in enumerate(scene.objects) if place != number):
        alike = [place for place in left if found[place].colour == other.colour]
        alike.sort(key=lambda place: found[place].shape != other.shape)
        if alike:
            left.remove(alike[0])
    return next((place for place in left if found[place].shape == scene.objects[number].shape), None)


def answer_identity(judge: Judge, case: HiddenCase, frames: Tensor, fps: float) -> IdentityAnswer:
    """Look whether the object of a case is in frames ``(T, H, W, 3)`` uint8 that follow what was given.

    Raises:
        DataError: If they are too few to be judged.
    """
    shown = find_objects(judge, frames, fps)
    scene, number = case.drawn.scene, case.drawn.number
    place = recognise(scene, number, shown.words)
    if place is None:
        return IdentityAnswer(shown.words, None, None, kept=False)
    first = picked_frames(judge, len(frames), fps)[_first_seen(shown, place)]
    colour = shown.words[place].colour
    return IdentityAnswer(
        found=shown.words,
        colour=colour,
        hidden_seconds=(case.moments.handed_over + first - case.moments.hidden) / fps,
        kept=colour == scene.objects[number].colour,
    )


def _first_seen(shown: ShownObjects, place: int) -> int:
    return int(shown.member[:, place].flatten(1).any(1).nonzero()[0])


def _answered(
    maker: VideoMaker, judge: Judge, group: Group, case: HiddenCase, seed: int
) -> tuple[IdentityCase, Tensor]:
    moments, item = case.moments, case.drawn.scene.objects[case.drawn.number]
    made = maker.verbs.go_on(case.given, case.prompt, seed, moments.end - moments.handed_over)
    decoded = maker.decode_again(torch.cat([case.given, case.truth]))[len(case.given) :]
    videos = {MADE: made, TRUE: case.truth, THROUGH_VAE: decoded}
    answered = IdentityCase(
        group=group,
        prompt=case.prompt,
        seed=seed,
        shape=item.shape,
        colour=item.colour,
        hidden_by=case.drawn.hidden_by,
        hidden_seconds=(moments.back - moments.hidden) / maker.fps,
        answers={name: answer_identity(judge, case, frames, maker.fps) for name, frames in videos.items()},
    )
    return answered, made


def _before(case: HiddenCase) -> Tensor:
    """From the beginning of what is given, or from the last sight, on."""
    start = min(case.moments.first, case.moments.hidden - 1)
    return case.frames[start - case.start : case.moments.handed_over - case.start]


def _shares(cases: Sequence[IdentityCase], source: str) -> dict[str, Share]:
    answers = [case.answers[source] for case in cases]
    figures = {
        SEEN: [answer.colour is not None for answer in answers],
        KEPT: [answer.kept for answer in answers],
        KEPT_OF_SEEN: [answer.kept for answer in answers if answer.colour is not None],
    }
    for by in HIDDEN_BY:
        figures[f"{KEPT}, hidden by the {by}"] = [case.answers[source].kept for case in cases if case.hidden_by == by]
    return {name: wilson_share(sum(right), len(right)) for name, right in figures.items() if right}


def _chance(cases: Sequence[IdentityCase]) -> float | None:
    """How often what came back in one scene has the colour of another scene's object."""
    right = [
        case.answers[MADE].colour == other.colour
        for case in cases
        for other in cases
        if case is not other and case.answers[MADE].colour is not None
    ]
    return sum(right) / len(right) if right else None


def _protocol(count: int, groups: Sequence[Group], seed: int, maker: VideoMaker) -> str:
    memory = maker.verbs.memory
    remembered = memory.window * memory.frames_per_latent / maker.fps
    beyond = (
        "; beyond: hidden for longer than all that the model is given, so that nothing shows it"
        if "beyond" in groups
        else "; no object of the world is hidden for longer than what this model is given, so nothing is beyond it"
    )
    return (
        f"{count} scenes of each group, of the world {WORLD_SEEDS + seed}, which no training draws, two objects each, "
        "other in colour and shape, of any combination; one that rests is hidden, no pixel's middle showing it, by "
        "the frame's edge as the camera pans and by the other object as the camera orbits, in turn; the model is "
        f"given the true frames at {maker.fps:g} fps, {maker.width}x{maker.height}, and the caption without the "
        f"object's colour, and goes on as sora extend does by default; scene i with seed {seed} + i; inside: hidden "
        f"for {SHORTEST:g} to {LONGEST:g} s of the {remembered:g} s of the model's window{beyond}; given up to "
        f"{LEAD:g} s or less before it is back in the true scene; looked at up to {LOOK:g} s after that; seen again: "
        "an object of its shape that is none of the others; kept: in its colour, of all scenes; in brackets Wilson's "
        "95 % intervals; chance: of those seen again, how many have another scene's colour, over all pairs of scenes;"
        " beside it true renders of the same scenes, and those through the model's VAE"
    )
