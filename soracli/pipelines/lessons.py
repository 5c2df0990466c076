"""What a model is taught so that few steps serve: training samples turned into lessons, and what the teacher says.

A lesson is a training sample whose noisy pieces are told a step size and a guidance scale. *Guided* lessons are taught
the guided velocity of the model that the training began from, evaluated as a sampler would, with the text and without;
*stepped* ones the mean velocity of a whole step, from two of half the size of the average of the weights in training.
The rest, *plain* lessons, learn from the data as in any training, and keep the model a velocity that may be guided side
by side. Guidance by the average itself was tried: it magnifies what the average has wrong, teaches that, and diverges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from soracli.diffusion.config import DistillConfig, FlowConfig
from soracli.diffusion.few_steps import Step, at_level, draw_level, draw_scale, draw_step, half_way, mean_velocity
from soracli.diffusion.objective import predicted_velocity, prediction_of
from soracli.diffusion.options import ObjectiveName, guidance_input
from soracli.diffusion.samplers import guided, guided_by_two
from soracli.models.tokens import Piece, Sample

Look = Callable[[Sequence[Sample]], list[list[Tensor]]]
"""What a teacher says of samples: for each its predictions ``(C, T, H, W)`` of the noisy pieces, as they stand."""


@dataclass(frozen=True)
class Lesson:
    """A sample as the student sees it.

    Attributes:
        kind: What teaches it.
        sample: Its noisy pieces are told step size and guidance.
        targets: ``(C, T, H, W)`` of each noisy piece: what the data say, which plain lessons are taught.
        scales: Guidance scale of each noisy piece; 1 of plain ones.
        steps: Of stepped lessons the step that each noisy piece begins.
    """

    kind: Literal["plain", "guided", "stepped"]
    sample: Sample
    targets: list[Tensor]
    scales: tuple[float, ...] = ()
    steps: tuple[Step, ...] = ()


def noisy_pieces(sample: Sample) -> list[Piece]:
    """Those that are to be made, as they stand."""
    return [piece for piece in sample.pieces if not piece.clean]


def with_noisy(sample: Sample, pieces: Sequence[Piece]) -> Sample:
    """The same sample with other noisy pieces, as many."""
    others = iter(pieces)
    return replace(sample, pieces=tuple(piece if piece.clean else next(others) for piece in sample.pieces))


def make_lesson(
    sample: Sample, targets: list[Tensor], flow: FlowConfig, distill: DistillConfig, generator: torch.Generator
) -> Lesson:
    """Decide what a training sample teaches, and bring its noisy pieces to the levels that belongs to.

    Each piece has a guidance scale of its own, and a step or level of its own: what they look back at is read alike.

    Args:
        sample: Of ``noised_sample``.
        targets: What it says with it.
        flow: Its objective and shift.
        distill: Shares, steps and scales.
        generator: Decides everything.
    """
    draw = float(torch.rand((), generator=generator))
    if draw >= distill.guided + distill.stepped:
        return Lesson("plain", sample, targets, (1.0,) * len(targets))
    kind: Literal["guided", "stepped"] = "guided" if draw < distill.guided else "stepped"
    begins = min((piece.block for piece in sample.pieces if not piece.is_source), default=0)
    pieces, scales, steps = [], [], []
    for piece, target in zip(noisy_pieces(sample), targets, strict=True):
        most = distill.guidance_scale if piece.block == begins else distill.later_guidance_scale
        scale = draw_scale(most, generator)
        if kind == "stepped":
            step = draw_step(flow.objective, distill.largest, flow.shift, generator)
            if float(torch.rand((), generator=generator)) < distill.unguided:
                scale = 1.0
            steps.append(step)
            level, size = step.start, step.size
        else:
            level, size = draw_level(flow.objective, flow.shift, generator), 0.0
        latents = at_level(flow.objective, piece.latents, target, float(piece.t[0]), level)
        pieces.append(_told(piece, latents, level, size, guidance_input(scale)))
        scales.append(scale)
    return Lesson(kind, with_noisy(sample, pieces), targets, tuple(scales), tuple(steps))


def teach(
    lessons: Sequence[Lesson],
    guide: Look,
    average: Look,
    no_text: Tensor,
    objective: ObjectiveName,
    distill: DistillConfig,
) -> list[list[Tensor]]:
    """Targets ``(C, T, H, W)`` of the noisy pieces of each lesson.

    Args:
        lessons: Of ``make_lesson``.
        guide: The model that is distilled; it looks once, at all views of guided lessons.
        average: The average of what is in training; it looks twice, at both halves of stepped lessons.
        no_text: ``(n,)`` tokens of the empty text.
        objective: What teachers and student say.
        distill: The largest number of steps, and how much a source counts.
    """
    views = [_views(lesson.sample, no_text) if lesson.kind == "guided" else [] for lesson in lessons]
    compared = iter(_velocities(guide, objective, [view for own in views for view in own]))
    halves = [_first_half(lesson, distill.largest) for lesson in lessons if lesson.kind == "stepped"]
    steps = [lesson.steps for lesson in lessons if lesson.kind == "stepped"]
    first = _velocities(average, objective, halves)
    halves = [_second_half(objective, *each) for each in zip(halves, first, steps, strict=True)]
    second = _velocities(average, objective, halves)
    both = zip(first, second, strict=True)
    targets = []
    for lesson, own in zip(lessons, views, strict=True):
        if lesson.kind == "plain":
            targets.append(lesson.targets)
            continue
        if lesson.kind == "stepped":
            taught = [mean_velocity(*each) for each in zip(*next(both), lesson.steps, strict=True)]
        else:
            taught = _guided([next(compared) for _ in own], lesson.scales, distill.source_guidance_scale)
        noisy = noisy_pieces(lesson.sample)
        targets.append(
            [
                prediction_of(objective, piece.latents, velocity, float(piece.t[0]))
                for piece, velocity in zip(noisy, taught, strict=True)
            ]
        )
    return targets


def _told(piece: Piece, latents: Tensor, level: float, size: float, guidance: float) -> Piece:
    levels = torch.full_like(piece.t, level)
    return replace(piece, latents=latents, t=levels, step_size=size, guidance=guidance)


def _views(sample: Sample, no_text: Tensor) -> list[Sample]:
    """What guidance compares: with the text and without, and of edits with neither text nor source."""
    plain = with_noisy(sample, [replace(piece, guidance=0.0) for piece in noisy_pieces(sample)])
    views = [plain, replace(plain, text=no_text)]
    made = tuple(piece for piece in plain.pieces if not piece.is_source)
    return views if len(made) == len(plain.pieces) else [*views, Sample(no_text, made)]


def _first_half(lesson: Lesson, largest: int) -> Sample:
    """A stepped lesson as the average is shown it: told half the size."""
    sizes = [_half_size(step, largest) for step in lesson.steps]
    both = zip(noisy_pieces(lesson.sample), sizes, strict=True)
    return with_noisy(lesson.sample, [replace(piece, step_size=size) for piece, size in both])


def _second_half(
    objective: ObjectiveName, first: Sample, velocities: Sequence[Tensor], steps: Sequence[Step]
) -> Sample:
    pieces = []
    for piece, velocity, step in zip(noisy_pieces(first), velocities, steps, strict=True):
        latents = half_way(objective, piece.latents, velocity, step)
        pieces.append(_told(piece, latents, step.middle, piece.step_size, piece.guidance))
    return with_noisy(first, pieces)


def _half_size(step: Step, largest: int) -> float:
    """Steps that are half of the finest are too fine to be told apart from the velocity itself."""
    return step.size / 2 if 2 * step.num_steps <= largest else 0.0


def _velocities(look: Look, objective: ObjectiveName, views: Sequence[Sample]) -> list[list[Tensor]]:
    """Of the noisy pieces of each view; one look at all of them."""
    return [
        [
            predicted_velocity(objective, piece.latents, prediction, float(piece.t[0]))
            for piece, prediction in zip(noisy_pieces(view), said, strict=True)
        ]
        for view, said in zip(views, look(views), strict=True)
    ]


def _guided(views: Sequence[Sequence[Tensor]], scales: Sequence[float], source_scale: float) -> list[Tensor]:
    """As a sampler guides: with the text and without, or with the instruction, with the source alone, with neither."""
    if len(views) == 2:
        return [guided(full, none, scale) for full, none, scale in zip(*views, scales, strict=True)]
    return [
        guided_by_two(neither, source, full, source_scale=source_scale, text_scale=scale)
        for full, source, neither, scale in zip(*views, scales, strict=True)
    ]
