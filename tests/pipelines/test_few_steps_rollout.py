"""How a distilled model is sampled: what it is told and how often it is asked, against steps taken by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from soracli.core.errors import UsageError
from soracli.diffusion.objective import sampling_times
from soracli.diffusion.options import FewSteps, SamplingOptions, recommended_options
from soracli.models.generator import Generator
from soracli.models.tokens import Piece, Sample, Tokens, pack_tokens, patchify, unpatchify
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.rollout import Source, roll_out
from soracli.pipelines.sampling_choice import sampling_options
from soracli.training.seeding import generator_for
from tests.pipelines.generators import tiny_generator

SIZE, FPS, SEED, PROMPT = (4, 4), 8.0, 5, "a red ball bounces"
FEW = FewSteps(largest=8, guidance_scale=10, later_guidance_scale=4)
DISTILLED = SamplingOptions(
    num_steps=4, guidance_scale=8.0, later_guidance_scale=3.0, window=5, first_block=3, block=2, few_steps=FEW
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return tiny_generator(tmp_path_factory.mktemp("model"), edits=True)


def made(model: Generator, options: SamplingOptions, num_latents: int = 5, **changes: Any) -> list[Tensor]:
    blocks = gap_blocks(model.spec, always(PROMPT), options, fps=FPS, num_latents=num_latents)
    if strength := changes.pop("strength", None):
        origins = [torch.ones(4, len(block.seconds), *SIZE) for block in blocks]
        both = zip(blocks, origins, strict=True)
        blocks = [replace(block, origin=origin, strength=strength) for block, origin in both]
    return list(roll_out(model, blocks, latent_size=SIZE, fps=FPS, seed=SEED, options=options, **changes))


@contextmanager
def watched(model: Generator) -> Iterator[list[tuple[int, float, float, float]]]:
    """Of every evaluation that makes something: segments, noise level, step size, guidance."""
    seen: list[tuple[int, float, float, float]] = []

    def watch(_: Any, given: tuple[Any, ...]) -> None:
        tokens: Tokens = given[0]
        if len(tokens.wanted) and float(tokens.conditions[-1, 0]) != pytest.approx(0.05):  # of what is remembered
            told = tokens.conditions[tokens.row[tokens.wanted]]
            assert bool((told == told[0]).all())
            seen.append((len(tokens.segments), *told[0].tolist()))

    handle = model.dit.register_forward_pre_hook(watch)
    yield seen
    handle.remove()


def test_four_evaluations_a_block(model: Generator) -> None:
    """One segment each, told a quarter of the way and the scale of the block; not eight as side by side."""
    with watched(model) as seen:
        made(model, DISTILLED)
    times = sampling_times("flow", 4, 1.5).float().tolist()[:-1]
    expected = [(1, t, 0.25, 1 - 1 / scale) for scale in (8.0, 3.0) for t in times]
    assert seen == [pytest.approx(each) for each in expected]
    with watched(model) as seen:
        made(model, replace(DISTILLED, few_steps=replace(FEW, folds=False)))
    assert seen == [pytest.approx((2, t, 0.25, 0.0)) for _ in range(2) for t in times]


def test_many_steps_are_plain(model: Generator) -> None:
    """Above what was taught there is no step size; guidance either way, and classically as of the undistilled model."""
    with watched(model) as seen:
        made(model, replace(DISTILLED, num_steps=9), 3)
    assert [each[:1] + each[2:] for each in seen] == [pytest.approx((1, 0, 1 - 1 / 8))] * 9
    classical = replace(DISTILLED, num_steps=9, few_steps=replace(FEW, folds=False))
    for one, other in zip(made(model, classical), made(model, replace(classical, few_steps=None)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "segments"),
    [
        ({}, 1),
        ({"guidance_scale": 10.0}, 1),
        ({"guidance_scale": 1.0}, 1),
        ({"guidance_scale": 10.5}, 2),
        ({"later_guidance_scale": 4.5}, 2),
        ({"guidance_scale": 0.5}, 2),
        ({"negative_prompt": "two cubes"}, 2),
    ],
)
def test_what_is_folded(model: Generator, changes: dict[str, Any], segments: int) -> None:
    given = {"negative_prompt": changes.pop("negative_prompt", "")} if "negative_prompt" in changes else {}
    with watched(model) as seen:
        made(model, replace(DISTILLED, num_steps=1, **changes), 3, **given)
    assert [each[0] for each in seen] == [segments]


def test_an_edit_is_one_evaluation(model: Generator) -> None:
    source = Source(torch.ones(4, 3, *SIZE), torch.tensor(model.spec.latent_times(3, FPS)), torch.arange(3) == 0)
    for scale, segments in ((1.5, 1), (1.2, 3)):
        with watched(model) as seen:
            made(model, replace(DISTILLED, source_guidance_scale=scale), 3, source=source)
        assert len(seen) == 4 and {each[0] for each in seen} == {segments}


def test_outside_the_interval_there_is_no_guidance(model: Generator) -> None:
    with watched(model) as seen:
        made(model, replace(DISTILLED, guidance_interval=(0.5, 0.9)), 3)
    assert [bool(each[3]) for each in seen] == [0.5 < each[1] <= 0.9 for each in seen]
    assert {each[0] for each in seen} == {1} and {each[2] for each in seen} == {0.25}


def test_from_a_level_between(model: Generator) -> None:
    """An origin under noise: by the plain velocity to the next level of the grid, then whole steps."""
    grid = sampling_times("flow", 4, 1.5).tolist()
    with watched(model) as seen:
        made(model, DISTILLED, 3, strength=0.7)
    assert [each[1:3] for each in seen] == [
        pytest.approx(pair) for pair in ((0.7, 0), (grid[2], 0.25), (grid[3], 0.25))
    ]
    with watched(model) as seen:
        made(model, DISTILLED, 3, strength=grid[1])
    assert [each[2] for each in seen] == [0.25] * 3


@torch.inference_mode()
@pytest.mark.parametrize("objective", ["flow", "v"])
def test_steps_by_hand(model: Generator, objective: str) -> None:
    """The first block as one uncached sequence, told what lessons are told, as a lesson stands in a batch."""
    options = replace(DISTILLED, objective=objective)
    [found] = made(model, options, 3)
    x = torch.randn(4, 3, *SIZE, generator=generator_for(SEED, "block", 0))
    times = sampling_times(objective, 4, 1.5)
    patch = model.dit.config.patch_size
    for t, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        radius = ((1 - t) ** 2 + t**2) ** 0.5 if objective == "v" else 1.0
        piece = Piece(
            x / radius, torch.tensor(model.spec.latent_times(3, FPS)), torch.arange(3) == 0, torch.full((3,), t),
            block=1, clean=False, step_size=0.25, guidance=1 - 1 / 8,
        )  # fmt: skip
        tokens = pack_tokens([Sample(model.prompt_tokens(PROMPT), (piece,))], patch, model.spec.compression[1:])
        said = model.dit(tokens, model.text(tokens.text, tokens.text_lengths))[0]
        velocity = unpatchify(said.unflatten(0, (3, -1)), SIZE, patch)
        if objective == "v":
            velocity = (velocity + (2 * t - 1) * x / radius) / radius
        x = x + (then - t) * velocity
    assert patchify(found, patch).shape == (3, 4, 16)
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-5)


def test_options_are_checked() -> None:
    record = {"fps": 8.0, "num_steps": 4, "few_steps": {**vars(FEW), "largest": 4}}
    options = sampling_options(record, num_steps=None)
    assert options.few_steps == replace(FEW, largest=4) and options.takes_taught_steps and options.few_steps.folds
    assert options == recommended_options(record)
    with pytest.raises(UsageError, match=r"--steps 3: this model was taught 1, 2, 4 steps; take one .* more than 4"):
        sampling_options(record, num_steps=3)
    with pytest.raises(UsageError, match=r"--sampler heun: .*more than 4 steps"):
        sampling_options(record, sampler="heun")
    many = sampling_options(record, num_steps=5, sampler="heun", classical_guidance=True)
    assert not many.takes_taught_steps and many.few_steps is not None and not many.few_steps.folds
    with pytest.raises(UsageError, match="--classical-guidance: this model has no other"):
        sampling_options({}, classical_guidance=True)
    assert sampling_options({}, num_steps=3) == SamplingOptions(num_steps=3)


def test_records() -> None:
    """Files of ordinary models say nothing of few steps."""
    assert "few_steps" not in SamplingOptions().record()
    assert DISTILLED.record()["few_steps"]["largest"] == 8
    assert SamplingOptions().record()["guidance_interval"] == [0.0, 1.0]
