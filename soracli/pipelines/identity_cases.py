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
from soracli.data.world.seen import shown_shares
from soracli.pipelines.fit_video import given_frames
from soracli.pipelines.video_maker import Memory, VideoMaker

WORLD_SEEDS = 5_000_000
"""Scenes are of the world ``WORLD_SEEDS + seed``: nothing else draws it."""
Group = Literal["inside", "beyond"]
"""Hidden for some seconds of what is remembered, or longer than all that the model is given."""
SHORTEST, LONGEST = 1.0, 3.0
"""Seconds that an object of the group inside is hidden."""
LOOK = 2.0
"""Seconds that are made, and looked at, after it comes back in the true scene."""
MOST_HIDDEN = 4.0
"""Seconds for which the world hides objects often enough; a model that is given more has no group beyond."""
SIGHT_BEFORE, SIGHT_AFTER, LEAST_SHARE, _MOSTLY = 0.5, 1.25, 0.005, 0.6
"""Seconds before and after in which it covers at least this share of the frame, and of the most it ever covers."""
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


def find_moments(shares: Tensor, fps: float, memory: Memory, group: Group) -> Moments | None:
    """The first time that an object is hidden as long as the group asks for, and seen well enough before and after.

    Inside, the model takes over when it has been hidden for ``SHORTEST``, and still remembers a whole latent of its
    last sight when it makes the block in which it should come back. Beyond, nothing that the model is given shows it.

    Args:
        shares: ``(T,)`` share of each frame that it covers, from the beginning of the scene.
        fps: Frames a second.
        memory: The model's.
        group: How long it is hidden.
    """
    well = shares >= max(LEAST_SHARE, _MOSTLY * float(shares.max()))
    for hidden, back in hidden_spans(shares):
        end = back + round(LOOK * fps)
        if group == "inside":
            handed_over = hidden + round(SHORTEST * fps)
            fits = handed_over <= back <= hidden + round(LONGEST * fps) and _is_remembered(
                memory, hidden, handed_over, back
            )
        else:
            handed_over = hidden + _most_given(memory)
            fits = handed_over <= back
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
    memory, count = maker.verbs.memory, len(drawn.scene.objects)
    where, when = position.to(device), times.to(device)
    glance = render_scene(drawn.scene, where, when, _GLANCE, _GLANCE, samples=1).object_index
    shares = shown_shares(glance, count)[:, drawn.number].cpu()
    rough = find_moments(shares, maker.fps, memory, group)
    if rough is None:
        return None
    # As it is shown a sliver may be seen a little earlier or later, so there is air on both sides.
    air = round(maker.fps / 3)
    start = max(0, min(rough.first, rough.hidden - _most_given(memory)) - air)
    stop = min(len(times), rough.end + air)
    shown = render_scene(drawn.scene, where[start:stop], when[start:stop], maker.height, maker.width)
    exact = torch.zeros(stop)
    exact[start:] = shown_shares(shown.object_index, count)[:, drawn.number].cpu()
    moments = find_moments(exact, maker.fps, memory, group)
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
