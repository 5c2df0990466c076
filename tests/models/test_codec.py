"""Encoding a stream equals encoding at once, bit for bit; both against the plain VAE; numbers there and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.models.codec import (
    decode_stream,
    denormalise,
    encode_stream,
    encode_video,
    normalise,
    to_frames,
    to_pixels,
)
from tests.models.tiny import SPEC, tiny_vae

CPU = torch.device("cpu")


def pixels(num_frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randint(0, 256, (num_frames, 16, 8, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 17, 33, 50])
@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, 50), max_size=8))
def test_any_chunks_give_the_same_bits(num_frames, cuts):
    """Chunks may be empty."""
    vae, frames = tiny_vae(), pixels(num_frames)
    whole = encode_video(vae, SPEC, frames, CPU)
    streamed = list(encode_stream(vae, SPEC, frames.tensor_split(sorted(min(cut, num_frames) for cut in cuts)), CPU))
    assert torch.equal(torch.cat(streamed, 1), whole)
    assert max(part.shape[1] for part in streamed) <= 4  # constant memory


@pytest.mark.parametrize("num_frames", [1, 2, 5, 17, 33, 50])
def test_the_codec_is_the_vae_at_once(num_frames):
    vae, frames = tiny_vae(), pixels(num_frames)
    latents = encode_video(vae, SPEC, frames, CPU)
    usable = 1 + (num_frames - 1) // 4 * 4
    assert latents.shape == (4, 1 + (num_frames - 1) // 4, 2, 1)
    with torch.no_grad():
        raw = vae.encode(frames[:usable].permute(3, 0, 1, 2)[None] / 127.5 - 1)[0][0]
    mean, std = (torch.tensor(values).view(4, 1, 1, 1) for values in (SPEC.mean, SPEC.std))
    torch.testing.assert_close(latents, (raw - mean) / std, atol=1e-4, rtol=1e-4)


def test_no_frames_give_no_latents():
    assert list(encode_stream(tiny_vae(), SPEC, [], CPU)) == []
    assert list(encode_stream(tiny_vae(), SPEC, [torch.zeros(0, 8, 8, 3, dtype=torch.uint8)], CPU)) == []


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_decoding_in_blocks_is_decoding_at_once(cuts):
    vae, latents = tiny_vae(), torch.randn(4, sum(cuts), 1, 2)
    with torch.inference_mode():
        whole = to_pixels(vae.decode(denormalise(latents[None], SPEC))[0])
    joined = torch.cat(list(decode_stream(vae, SPEC, latents.split(cuts, 1), torch.device("cpu"))))
    assert joined.dtype == torch.uint8 and joined.shape == (1 + 4 * (sum(cuts) - 1), 8, 16, 3)
    assert int((joined.int() - whole.int()).abs().max()) <= 1


def test_normalising_is_undone():
    latents = torch.randn(2, 4, 3, 2, 2)
    torch.testing.assert_close(denormalise(normalise(latents, SPEC), SPEC), latents)
    many = torch.randn(4, 5000, 1, 1) * torch.tensor(SPEC.std).view(4, 1, 1, 1)
    many = normalise(many + torch.tensor(SPEC.mean).view(4, 1, 1, 1), SPEC).flatten(1)
    torch.testing.assert_close(many.mean(1), torch.zeros(4), atol=0.06, rtol=0)
    torch.testing.assert_close(many.std(1), torch.ones(4), atol=0.06, rtol=0)


def test_every_grey_level_comes_back():
    levels = torch.arange(256, dtype=torch.uint8).view(4, 8, 8, 1).expand(-1, -1, -1, 3)
    frames = to_frames(levels)
    assert frames.shape == (1, 3, 4, 8, 8) and float(frames.min()) == -1 and float(frames.max()) == 1
    assert torch.equal(to_pixels(frames), levels)
    beyond = torch.tensor([-3.0, 3.0]).view(1, 1, 2, 1, 1).expand(1, 3, 2, 2, 2)
    assert to_pixels(beyond)[:, 0, 0, 0].tolist() == [0, 255]
