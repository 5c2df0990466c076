"""What a teacher says of lessons: against the exact flow of a known teacher, plain formulas, and each lesson alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from soracli.data.latent_samples import LatentSample
from soracli.diffusion.config import DistillConfig, FlowConfig, OrderConfig
from soracli.diffusion.objective import predicted_velocity, prediction_of, seen_on_path
from soracli.models.tokens import Sample, Tokens, pack_tokens
from soracli.pipelines.distill_batch import teacher_look
from soracli.pipelines.dit_step import DiTWithText
from soracli.pipelines.lessons import Lesson, make_lesson, noisy_pieces, teach
from soracli.pipelines.noising import noised_sample
from soracli.training.distributed import World
from tests.diffusion.test_few_steps import MEAN, flow, mean_of_flow, velocity
from tests.models.tiny import TEXT, tiny_dit, tiny_text
from tests.pipelines.runs import dit_recipe

PIXELS = (8, 8)
WORLD = World(0, 1, 0, torch.device("cpu"))
ORDER = OrderConfig(first_block=2, block=2, forward=1, animate=1, backward=1, between=1, scattered=1)
NO_TEXT = torch.tensor([2])
ALL_STEPS = DistillConfig(largest=4, guided=0, stepped=1)
ALL_GUIDED = DistillConfig(largest=4, guided=1, stepped=0)
kinds = st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([(4, 4), (2, 6)]), st.booleans(), st.booleans())
"""Latent frames, their size, whether the video begins here, whether it is an edit."""


def lesson_of(
    kind: tuple[int, tuple[int, int], bool, bool],
    distill: DistillConfig,
    seed: int,
    dtype: torch.dtype = torch.float64,
    **changes: Any,
) -> Lesson:
    (frames, size, begins, is_edit), generator = kind, torch.Generator().manual_seed(seed)
    flow = FlowConfig(**{"shift": 1.0, "copies": 2} | changes)
    drawn = LatentSample(
        latents=torch.randn(4, frames, *size, generator=generator, dtype=dtype),
        seconds=0.25 * torch.arange(frames),
        one_frame=torch.arange(frames) == (0 if begins else -1),
        begins=begins,
        caption="",
        source=torch.randn(4, frames, *size, generator=generator, dtype=dtype) if is_edit else None,
    )
    text = torch.randint(3, TEXT.vocabulary_size, (3,), generator=generator)
    sample, targets = noised_sample(drawn, text, flow, ORDER, generator)
    return make_lesson(sample, targets, flow, distill, generator)


class Exact(nn.Module):
    """Says of a step the mean velocity of the flow to one Gaussian, of every number by itself."""

    def __init__(self, objective: str, shift: float) -> None:
        super().__init__()
        self.objective, self.shift = objective, shift

    def forward(self, tokens: Tokens) -> Tensor:
        places = tokens.order[tokens.wanted] - len(tokens.text)
        said = []
        for patch, (t, size, _) in zip(
            tokens.patches[places], tokens.conditions[tokens.row[tokens.wanted]].double().tolist(), strict=True
        ):
            share = t / (self.shift - (self.shift - 1) * t) - size
            then = self.shift * share / (1 + (self.shift - 1) * share)
            x = patch * ((1 - t) ** 2 + t**2) ** 0.5 if self.objective == "v" else patch
            found = mean_of_flow(x, t, max(then, 0.0)) if size else velocity(x, t)
            said.append(prediction_of(self.objective, patch, found, t))
        return torch.stack(said)


def taught(lessons: Sequence[Lesson], teacher: nn.Module, distill: DistillConfig, objective: str = "flow") -> list:
    recipe = dit_recipe("dit.patch_size=[1, 2, 2]").recipe
    look = teacher_look(teacher, recipe, PIXELS, WORLD)
    return teach(lessons, look, look, NO_TEXT, objective, distill)


@pytest.mark.parametrize(("shift", "near"), [(1.0, 1e-12), (2.0, 1e-5)])
def test_a_step_is_taught_the_flow(shift: float, near: float) -> None:
    """By an exact teacher every step is taught to end where the flow does; the finest, by the velocity, near it.

    Levels of an even grid are exact in float32, which the model is told them in.
    """
    lessons = [lesson_of((5, (4, 4), True, False), ALL_STEPS, seed, shift=shift) for seed in range(12)]
    targets = taught(lessons, Exact("flow", shift), ALL_STEPS)
    seen = set()
    for lesson, own in zip(lessons, targets, strict=True):
        for piece, target, step in zip(noisy_pieces(lesson.sample), own, lesson.steps, strict=True):
            assert piece.step_size == 1 / step.num_steps and float(piece.t[0]) == pytest.approx(step.start)
            exact = mean_of_flow(piece.latents, step.start, step.end)
            error = float((target - exact).abs().max())
            if step.num_steps < ALL_STEPS.largest:
                assert error < near
            else:  # two steps of Euler
                assert error > 1e-6
                half = piece.latents + (step.middle - step.start) * velocity(piece.latents, step.start)
                end = half + (step.end - step.middle) * velocity(half, step.middle)
                assert float((piece.latents + (step.end - step.start) * target - end).abs().max()) < near
            seen.add(step.num_steps)
    assert seen == {1, 2, 4}
    assert float(flow(torch.tensor(0.0), 1.0, 0.0)) == pytest.approx(MEAN)


@pytest.mark.parametrize("objective", ["flow", "v"])
@pytest.mark.parametrize("distill", [ALL_STEPS, ALL_GUIDED, DistillConfig(largest=4, guided=0.4, stepped=0.4)])
@settings(max_examples=10, deadline=None)
@given(packed=st.lists(kinds, min_size=2, max_size=4), seed=st.integers(0, 10**6))
def test_packed_is_alone(objective, distill, packed, seed):
    teacher = DiTWithText(tiny_dit(edits=True), tiny_text()).double()
    lessons = [lesson_of(kind, distill, seed + place, objective=objective) for place, kind in enumerate(packed)]
    together = taught(lessons, teacher, distill, objective)
    for lesson, own in zip(lessons, together, strict=True):
        [alone] = taught([lesson], teacher, distill, objective)
        assert len(own) == len(alone) == len(noisy_pieces(lesson.sample))
        for one, other, piece in zip(own, alone, noisy_pieces(lesson.sample), strict=True):
            assert one.shape == piece.latents.shape
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("objective", ["flow", "v"])
@pytest.mark.parametrize("is_edit", [False, True])
def test_what_guidance_makes(is_edit: bool, objective: str) -> None:
    """Every view evaluated by itself and put together by hand; no view is told of guidance."""
    model = DiTWithText(tiny_dit(edits=True), tiny_text()).double()
    lesson = lesson_of((5, (4, 4), True, is_edit), ALL_GUIDED, 3, objective=objective)
    [found] = taught([lesson], model, ALL_GUIDED, objective)
    sample = lesson.sample
    plain = Sample(sample.text, tuple(replace(piece, guidance=0.0) for piece in sample.pieces))
    without = Sample(NO_TEXT, tuple(piece for piece in plain.pieces if not piece.is_source))

    def says(view: Sample) -> list[Tensor]:
        look = teacher_look(model, dit_recipe().recipe, PIXELS, WORLD)
        [said] = look([view])
        pieces = noisy_pieces(view)
        return [
            predicted_velocity(objective, piece.latents, each, float(piece.t[0]))
            for piece, each in zip(pieces, said, strict=True)
        ]

    full, source, neither = says(plain), says(Sample(NO_TEXT, plain.pieces)), says(without)
    assert max(lesson.scales) > 2 and len(set(lesson.scales)) == len(lesson.scales)
    for place, (piece, scale) in enumerate(zip(noisy_pieces(sample), lesson.scales, strict=True)):
        assert piece.step_size == 0 and piece.guidance == pytest.approx(1 - 1 / scale)
        expected = neither[place] + scale * (full[place] - neither[place])
        if is_edit:
            towards = 1.5 * (source[place] - neither[place])
            expected = neither[place] + towards + scale * (full[place] - source[place])
        told = predicted_velocity(objective, piece.latents, found[place], float(piece.t[0]))
        torch.testing.assert_close(told, expected, rtol=1e-8, atol=1e-8)


def test_the_same_path() -> None:
    """A lesson shows the data of its sample with its noise, at another level; plain lessons are as they were."""
    for distill in (ALL_STEPS, ALL_GUIDED, DistillConfig(guided=0, stepped=0)):
        for objective in ("flow", "v"):
            lesson = lesson_of((5, (4, 4), True, True), distill, 1, objective=objective)
            plain = lesson_of((5, (4, 4), True, True), DistillConfig(guided=0, stepped=0), 1, objective=objective)
            assert plain.kind == "plain"
            for piece, before, target in zip(
                noisy_pieces(lesson.sample), noisy_pieces(plain.sample), plain.targets, strict=True
            ):
                t, then = float(before.t[0]), float(piece.t[0])
                speed = predicted_velocity(objective, before.latents, target, t)
                x = before.latents * ((1 - t) ** 2 + t**2) ** 0.5 if objective == "v" else before.latents
                expected = seen_on_path(objective, x + (then - t) * speed, then)
                torch.testing.assert_close(piece.latents, expected, rtol=0, atol=1e-6)
            for one, other in zip(lesson.sample.pieces, plain.sample.pieces, strict=True):
                assert not one.clean or (one.step_size == one.guidance == 0 and torch.equal(one.latents, other.latents))


def test_scales_by_what_is_there() -> None:
    """Blocks without a past up to one scale, the others up to another; a share of steps is not guided."""
    distill = DistillConfig(guided=0, stepped=1, guidance_scale=10, later_guidance_scale=2, unguided=0.25)
    first, later = [], []
    for seed in range(300):
        lesson = lesson_of((5, (2, 2), True, False), distill, seed)
        for piece, scale in zip(noisy_pieces(lesson.sample), lesson.scales, strict=True):
            has_past = any(other.clean and other.block < piece.block for other in lesson.sample.pieces)
            (later if has_past else first).append(scale)
    assert 8 < max(first) <= 10 and 1.9 < max(later) <= 2 and min(len(first), len(later)) > 100
    for scales in (first, later):
        assert sum(scale == 1 for scale in scales) / len(scales) == pytest.approx(0.25, abs=0.06)


def test_shares() -> None:
    distill = DistillConfig(guided=0.2, stepped=0.5)
    found = [lesson_of((1, (2, 2), True, False), distill, seed).kind for seed in range(600)]
    for kind, share in (("guided", 0.2), ("stepped", 0.5), ("plain", 0.3)):
        assert found.count(kind) / 600 == pytest.approx(share, abs=0.06)


def test_only_what_is_made_is_told() -> None:
    """Text and context are read alike whatever is asked of the noisy pieces beside them."""
    lesson = lesson_of((5, (4, 4), True, True), ALL_STEPS, 0)
    tokens = pack_tokens([lesson.sample], (1, 2, 2), PIXELS)
    told = tokens.conditions[tokens.row][:, 1:].abs().sum(1) > 0
    assert torch.equal(told.nonzero()[:, 0], tokens.wanted)
