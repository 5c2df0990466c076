"""A gap's frames against latents decoded by hand, blends and residuals against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from soracli.core.errors import NumericsError
from soracli.diffusion.options import SamplingOptions
from soracli.models.codec import encode_video
from soracli.pipelines import fill_gap as module
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.fill_gap import Given, fill_gap
from soracli.pipelines.rollout import roll_out
from tests.pipelines.generators import tiny_generator

OPTIONS = SamplingOptions(num_steps=2, guidance_scale=2.0, first_block=3, block=2, window=5)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("model"))


def picture(count: int, height: int, width: int, seed: int) -> torch.Tensor:
    return torch.randint(60, 200, (count, height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def stretch(count: int, size: tuple[int, int], seed: int) -> Given:
    return Given(picture(count, 16, 32, seed), picture(1, *size, seed + 50)[0])


def fill(model, before, after, num_frames, stride=1, fade=0.0, **more):
    parts = fill_gap(
        model, before=before, after=after, num_frames=num_frames, stride=stride, fps=8.0, prompt=always("a red ball"),
        seed=5, options=OPTIONS, fade_seconds=fade, **more,
    )  # fmt: skip
    return torch.cat(list(parts)).float() / 127.5 - 1


def made_at_model_rate(model, before, after, num_latents):
    """What the model makes, decoded at once: ``(T, 3, h, w)``, with the frames of ``before`` in front."""
    spec = model.spec
    one, two = (None if part is None else encode_video(model.vae, spec, part.frames, CPU) for part in (before, after))
    blocks = gap_blocks(spec, always("a red ball"), OPTIONS, fps=8.0, num_latents=num_latents, before=one, after=two)
    made = list(roll_out(model, blocks, latent_size=(2, 4), fps=8.0, seed=5, options=OPTIONS))
    if before is None:
        made = made[::-1]
    whole = torch.cat(([] if one is None else [one]) + made, 1)
    std, mean = (torch.tensor(values)[:, None, None, None] for values in (spec.std, spec.mean))
    with torch.inference_mode():
        return model.vae.decode((whole * std + mean)[None])[0][0].transpose(0, 1)


def resized(frames, size):
    return functional.interpolate(frames, size, mode="bicubic", antialias=True)


LEVEL = 1.01 / 127.5
"""Half a level of rounding each way."""


@pytest.mark.parametrize("own_size", [(16, 32), (40, 66)])
def test_what_goes_on_is_what_is_made_after_it(model, own_size):
    before = stretch(9, own_size, 1)
    found = fill(model, before, None, 7)
    expected = resized(made_at_model_rate(model, before, None, 2)[9:], own_size).clamp(-1, 1)
    assert found.shape == (7, *own_size, 3)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected[:7], atol=LEVEL, rtol=0)


def test_what_comes_before_ends_where_the_video_begins(model):
    after = stretch(5, (16, 32), 2)
    found = fill(model, None, after, 7)
    expected = made_at_model_rate(model, None, after, 3)[-7:].clamp(-1, 1)  # nine frames, the first two not asked for
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected, atol=LEVEL, rtol=0)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_blends_lie_between_frames_of_the_models_rate(model, stride):
    before, after = stretch(5, (16, 32), 3), stretch(5, (16, 32), 4)
    count = stride * 9 - 1
    found = fill(model, before, after, count, stride).permute(0, 3, 1, 2)
    made = made_at_model_rate(model, before, after, 2)[5:]
    ends = [given.edge.permute(2, 0, 1)[None].float() / 127.5 - 1 for given in (before, after)]
    anchors = torch.cat([ends[0], made, ends[1]])  # ten, nine strides apart
    for number in range(count):
        place, part = divmod(number + 1, stride)
        between = anchors[place] + (anchors[min(9, place + 1)] - anchors[place]) * part / stride
        torch.testing.assert_close(found[number], between.clamp(-1, 1), atol=LEVEL, rtol=0)


@pytest.mark.parametrize("sides", ["before", "after", "both"])
def test_residuals_fade_by_half_a_cosine(model, sides):
    before = None if sides == "after" else stretch(5, (16, 32), 5)
    after = None if sides == "before" else stretch(5, (16, 32), 6)
    fade = 0.7
    without, found = (fill(model, before, after, 8, fade=seconds).permute(0, 3, 1, 2) for seconds in (0.0, fade))
    expected = torch.zeros_like(found)
    frames = made_at_model_rate(model, before, after, 2 if before else 3)
    for given, distances in ((before, range(1, 9)), (after, range(8, 0, -1))):
        if given is None:
            continue
        if given is before:
            decoded = frames[4]
        else:
            latent = encode_video(model.vae, model.spec, given.frames, CPU)[:, :1]
            std, mean = (torch.tensor(v)[:, None, None, None] for v in (model.spec.std, model.spec.mean))
            with torch.inference_mode():
                decoded = model.vae.decode((latent * std + mean)[None])[0][0, :, 0]
        residual = given.edge.permute(2, 0, 1).float() / 127.5 - 1 - decoded
        weight = [0.5 * (1 + math.cos(math.pi * min(1.0, d / (fade * 8.0)))) for d in distances]
        expected += torch.tensor(weight)[:, None, None, None] * residual
    inside = (without.abs() < 0.99) & (found.abs() < 0.99)  # what was cut off at black or white says nothing
    assert inside.float().mean() > 0.3 and expected.abs().max() > 0.2
    torch.testing.assert_close((found - without)[inside], expected[inside], atol=2 * LEVEL, rtol=0)


def test_numbers_that_are_not_finite_are_told(model, monkeypatch):
    monkeypatch.setattr(module, "roll_out", lambda *args, **more: iter([torch.full((4, 2, 2, 4), float("nan"))]))
    with pytest.raises(NumericsError, match="not finite"):
        fill(model, stretch(5, (16, 32), 1), None, 4)
