"""Edits of frames: strength 0 and 1 against the VAE and against sampling alone, instructions against the rollout."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from soracli.core.errors import NumericsError
from soracli.diffusion.options import SamplingOptions
from soracli.models.codec import decode_stream, encode_video
from soracli.pipelines import edit_frames as module
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.edit_frames import edit_frames
from soracli.pipelines.rollout import Source, roll_out
from tests.pipelines.generators import tiny_generator

OPTIONS = SamplingOptions(num_steps=3, guidance_scale=2.0, first_block=3, block=2, window=5)
CPU = torch.device("cpu")
LEVEL = 1.01 / 127.5


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("model"), edits=True)


def video(count: int) -> torch.Tensor:
    return torch.randint(60, 200, (count, 16, 32, 3), generator=torch.Generator().manual_seed(1)).byte()


def edit(model, frames, *, stride=1, own_size=(16, 32), **more):
    parts = edit_frames(
        model, frames, stride=stride, fps=8.0, own_size=own_size, prompt=always("a red ball"), seed=5,
        options=OPTIONS, **more,
    )  # fmt: skip
    return torch.cat(list(parts))


def rolled(model, num_latents, source=None):
    blocks = gap_blocks(model.spec, always("a red ball"), OPTIONS, fps=8.0, num_latents=num_latents)
    return list(roll_out(model, blocks, latent_size=(2, 4), fps=8.0, seed=5, options=OPTIONS, source=source))


def close(found, expected):
    torch.testing.assert_close(found.float(), expected.float(), atol=1.01, rtol=0)


def test_strength_0_is_what_the_vae_gives_back(model):
    frames = video(17)
    expected = torch.cat(
        list(decode_stream(model.vae, model.spec, [encode_video(model.vae, model.spec, frames, CPU)], CPU))
    )
    close(edit(model, frames.split(3), strength=0.0), expected)


def test_strength_1_sees_nothing_of_the_video(model):
    expected = torch.cat(list(decode_stream(model.vae, model.spec, rolled(model, 5), CPU)))
    close(edit(model, [video(17)], strength=1.0), expected)
    close(edit(model, [video(17).flip(0)], strength=1.0), expected)


def test_between_lies_between(model):
    """More strength is farther from the video."""
    same = edit(model, [video(17)], strength=0.0).float()
    off = [(edit(model, [video(17)], strength=s).float() - same).square().mean() for s in (0.1, 0.4, 0.9)]
    assert 0 < off[0] < off[1] < off[2]


def test_an_instruction_is_followed_beside_the_whole_video(model):
    frames = video(17)
    latents = encode_video(model.vae, model.spec, frames, CPU)
    source = Source(latents, torch.tensor(model.spec.latent_times(5, 8.0)), torch.arange(5) == 0)
    expected = torch.cat(list(decode_stream(model.vae, model.spec, rolled(model, 5, source), CPU)))
    close(edit(model, frames.split(4)), expected)
    assert not torch.equal(expected, torch.cat(list(decode_stream(model.vae, model.spec, rolled(model, 5), CPU))))


def test_its_own_rate_and_size(model):
    found = edit(model, [video(8)], stride=2, own_size=(20, 30), strength=0.0).float() / 127.5 - 1
    padded = torch.cat([video(8), video(8)[-1:]])
    decoded = model.vae.decode(model.vae.encode(padded.permute(3, 0, 1, 2)[None].float() / 127.5 - 1)[0])[0][0].detach()
    own = functional.interpolate(decoded.transpose(0, 1), (20, 30), mode="bicubic", antialias=True)
    expected = torch.stack([own[n // 2] if n % 2 == 0 else (own[n // 2] + own[n // 2 + 1]) / 2 for n in range(17)])
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected.clamp(-1, 1), atol=LEVEL, rtol=0)


def test_numbers_that_are_not_finite_are_told(model, monkeypatch):
    monkeypatch.setattr(module, "roll_out", lambda *args, **more: iter([torch.full((4, 2, 2, 4), float("nan"))]))
    with pytest.raises(NumericsError, match="not finite"):
        edit(model, [video(5)])
