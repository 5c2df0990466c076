"""What identity is measured on: scenes of the world, their frames, and when an object is hidden and comes back.

Axes: T frames. Numbers of frames count from the beginning of a scene.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from soracli.core.errors import UsageError
from soracli.data.world.captions import caption_scene
from soracli.data.world.grammar import Scene
from soracli.data.world.hiding import (
    HIDDEN_BY,
    HiddenBy,
    HidingScene,
    could_be_hidden,
    draw_hiding,
    hidden_spans,
    unnamed_colour,
)
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene
from soracli.data.world.seen import shown_shares, with_objects
from soracli.pipelines.fit_video import given_frames
from soracli.pipelines.video_maker import Memory, VideoMaker

WORLD_SEEDS = 5_000_000
"""Scenes are of the world ``WORLD_SEEDS + seed``: nothing else draws it."""
Group = Literal["inside", "beyond"]
"""Hidden for some seconds of what is remembered, or longer than all that the model is given."""
SHORTEST, LONGEST = 1.0, 3.0
"""Seconds that an object of the group inside is hidden."""
LEAD, LOOK = 1.0, 3.0
"""Seconds that are made before it comes back in the true scene, at most, and after: as many as a judge looks at."""
MOST_HIDDEN = 4.0
"""Seconds for which the world hides objects often enough; a model that is given more has no group beyond."""
SIGHT_BEFORE, SIGHT_AFTER, _LEAST, _MOSTLY = 0.5, 1.25, 0.005, 0.7
"""Seconds before and after in which it is seen well: this share of the frame, and this much of what it would cover with
nothing before it."""
_SCENE_SECONDS, _GLANCE, _BATCH = 11.0, 32, 16
_MOST_DRAWN = 1024
"""Scenes drawn in vain before it is given up; one in five fits as a rule."""


@dataclass(frozen=True)
class Moments:
    """When what happens, in frames.

    Attributes:
        first: The first frame that the model is given.
        hidden: The first one in which the object is hidden.
        handed_over: The first one that the model makes.
        back: The first one in which it is seen again.
        end: The one after the last that is looked at.
    """

    first: int
    hidden: int
    handed_over: int
    back: int
    end: int


@dataclass(frozen=True)
class HiddenCase:
    """One scene.

    Attributes:
        drawn: The scene, and which of its objects is hidden by what.
        prompt: Its caption without that object's colour.
        moments: When it is hidden.
        start: Number of the first of ``frames``: of the first given one, or of the last sight before that.
        frames: ``(T, H, W, 3)`` uint8 up to ``moments.end``.
    """

    drawn: HidingScene
    prompt: str
    moments: Moments
    start: int
    frames: Tensor

    @property
    def given(self) -> Tensor:
        """What the model goes on with."""
        return self.frames[self.moments.first - self.start : self.moments.handed_over - self.start]

    @property
    def truth(self) -> Tensor:
        """What follows it in the true scene."""
        return self.frames[self.moments.handed_over - self.start :]


def measured_groups(memory: Memory, fps: float) -> tuple[Group, ...]:
    """The groups that scenes of the world can tell of a model with this memory."""
    given = _most_given(memory) / fps
    return ("inside", "beyond") if given <= MOST_HIDDEN else ("inside",)


def find_cases(maker: VideoMaker, group: Group, count: int, seed: int, device: torch.device) -> Iterator[HiddenCase]:
    """Scenes with an object that is hidden and comes back, hidden by the view and by another object in turn.

    Args:
        maker: Says size, rate and memory.
        group: How long it is hidden.
        count: How many scenes.
        seed: Which world.
        device: Where they are drawn.

    Raises:
        UsageError: If the memory is so short that no scene fits.
    """
    drawn = {by: _fitting(maker, group, by, seed, device) for by in HIDDEN_BY}
    for _, by in zip(range(count), itertools.cycle(HIDDEN_BY), strict=False):
        yield next(drawn[by])


def find_moments(shares: Tensor, alone: Tensor, fps: float, memory: Memory, group: Group) -> Moments | None:
    """The first time that an object is hidden as long as the group asks for, and seen well enough before and after.

    The model takes over when it is hidden. Inside, it has been for ``SHORTEST`` at least, and the model still remembers
    a whole latent of its last sight when it makes the block in which it should come back. Beyond, nothing that the
    model is given shows it.

    Args:
        shares: ``(T,)`` share of each frame that it covers, from the beginning of the scene.
        alone: ``(T,)`` what it would cover if it were alone.
        fps: Frames a second.
        memory: The model's.
        group: How long it is hidden.
    """
    well = shares >= (_MOSTLY * alone).clamp(min=_LEAST)
    shortest = round(SHORTEST * fps) if group == "inside" else _most_given(memory)
    for hidden, back in hidden_spans(shares):
        end = back + round(LOOK * fps)
        handed_over = max(hidden + shortest, back - round(LEAD * fps))
        fits = handed_over <= back
        if group == "inside":
            fits &= back <= hidden + round(LONGEST * fps) and _is_remembered(memory, hidden, handed_over, back)
        if not fits or end > len(shares):
            continue
        first = handed_over - given_frames(handed_over, 1, memory.frames_per_latent, memory.window)
        sight = first if group == "inside" else max(0, hidden - _most_given(memory))
        before, after = int(well[sight:hidden].sum()), int(well[back:end].sum())
        if before >= SIGHT_BEFORE * fps and after >= SIGHT_AFTER * fps:
            return Moments(first, hidden, handed_over, back, end)
    return None


def _is_remembered(memory: Memory, hidden: int, handed_over: int, back: int) -> bool:
    """Whether the window holds a whole latent of the last sight when the block with frame ``back`` is made."""
    block = memory.block * memory.frames_per_latent
    begins = handed_over + (back - handed_over) // block * block
    return begins - memory.window * memory.frames_per_latent <= hidden - memory.frames_per_latent


def _most_given(memory: Memory) -> int:
    return 1 + (memory.window - 1) * memory.frames_per_latent


def _fitting(
    maker: VideoMaker, group: Group, hidden_by: HiddenBy, seed: int, device: torch.device
) -> Iterator[HiddenCase]:
    """Scenes of one kind that fit, in the order they are drawn: looked at small first, then as they are shown."""
    times = torch.arange(round(_SCENE_SECONDS * maker.fps)) / maker.fps
    memory, in_vain = maker.verbs.memory, 0
    shortest = SHORTEST if group == "inside" else _most_given(memory) / maker.fps
    likely = (
        drawn
        for index in itertools.count()
        if _longest_run(could_be_hidden(drawn := draw_hiding(WORLD_SEEDS + seed, index, hidden_by), times))
        >= shortest * maker.fps
    )
    while in_vain < _MOST_DRAWN:
        batch = list(itertools.islice(likely, _BATCH))
        positions = simulate([drawn.scene for drawn in batch], times).position
        for drawn, position in zip(batch, positions, strict=True):
            case = _case(maker, group, drawn, position, times, device, seed)
            in_vain = 0 if case else in_vain + 1
            if case is not None:
                yield case
    raise UsageError(
        f"no scene of the world hides an object in the way that identity is measured with a window of {memory.window} "
        f"latent frames at {maker.fps:g} fps: leave out --identity"
    )


def _longest_run(flags: Tensor) -> int:
    """Most neighbours of ``(T,)`` that are true."""
    return max((len(list(run)) for value, run in itertools.groupby(flags.tolist()) if value), default=0)


def _case(
    maker: VideoMaker,
    group: Group,
    drawn: HidingScene,
    position: Tensor,
    times: Tensor,
    device: torch.device,
    seed: int,
) -> HiddenCase | None:
    memory = maker.verbs.memory
    where, when = position.to(device), times.to(device)
    shares = _glance(drawn.scene, drawn.number, where, when)
    alone = _glance(with_objects(drawn.scene, [drawn.number]), 0, where[:, [drawn.number]], when)
    rough = find_moments(shares, alone, maker.fps, memory, group)
    if rough is None:
        return None
    # As it is shown a sliver may be seen a little earlier or later, so there is air on both sides.
    air = round(maker.fps / 3)
    start = max(0, min(rough.first, rough.hidden - _most_given(memory)) - air)
    stop = min(len(times), rough.end + air)
    shown = render_scene(drawn.scene, where[start:stop], when[start:stop], maker.height, maker.width)
    exact = torch.zeros(stop)
    exact[start:] = shown_shares(shown.object_index, len(drawn.scene.objects))[:, drawn.number].cpu()
    moments = find_moments(exact, alone[:stop], maker.fps, memory, group)
    if moments is None or moments.first < start:
        return None
    rng = random.Random(f"identity {seed} {drawn.hidden_by} {drawn.scene.index}")
    caption = caption_scene(drawn.scene, style="short", moving=True, rng=rng)
    return HiddenCase(
        drawn=drawn,
        prompt=unnamed_colour(caption, drawn.scene.objects[drawn.number]),
        moments=moments,
        start=start,
        frames=shown.frames[: moments.end - start].cpu(),
    )


def _glance(scene: Scene, number: int, position: Tensor, times: Tensor) -> Tensor:
    """``(T,)`` share of each frame that an object covers, roughly."""
    shown = render_scene(scene, position, times, _GLANCE, _GLANCE, samples=1).object_index
    return shown_shares(shown, len(scene.objects))[:, number].cpu()
