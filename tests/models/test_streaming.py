"""Streamed and one-shot inference bit for bit, whatever the chunks; both against a plain VAE without a cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from soracli.core.latent_spec import LatentSpec
from soracli.models.codec import (
    decode_frames,
    decode_stream,
    denormalise,
    encode_stream,
    encode_video,
    hold_last,
    normalise,
    to_frames,
    to_pixels,
)
from soracli.models.layers.causal import Cache
from soracli.models.tiles import Tiling
from soracli.models.video_vae import VideoVAE
from tests.models import plain_vae
from tests.models.tiny import random_frames, tiny_vae

CPU = torch.device("cpu")
NUM_FRAMES = (1, 2, 5, 17, 33, 121)
CONFIGS: dict[str, dict[str, Any]] = {
    "4x8x8": {"temporal_strides": (2, 2)},
    "late": {"temporal_strides": (1, 2), "encoder_blocks": (2, 0, 1), "decoder_blocks": (0, 1, 2)},
    "early": {"temporal_strides": (2, 1), "patch_size": 1, "encoder_blocks": (1, 1, 0), "decoder_blocks": (1, 0, 0)},
    "linear code": {"temporal_strides": (2, 2), "linear_code": True},
    "no stride": {"temporal_strides": (1, 1), "patch_size": 4},
    "shallow": {
        **{"widths": (5,), "temporal_strides": (), "patch_size": 8},
        **{"encoder_blocks": (2,), "decoder_blocks": (1,)},
    },
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
some_cuts = st.lists(st.integers(0, 121), max_size=10)


def spec_of(vae: VideoVAE) -> LatentSpec:
    channels = vae.config.latent_channels
    mean, std = (0.1, -0.2, 0.3, 0.0)[:channels], (0.5, 2.0, 1.0, 1.5)[:channels]
    return LatentSpec(channels=channels, compression=vae.config.compression, mean=mean, std=std, vae_hash="0" * 64)


def pixels_of(vae: VideoVAE, num_frames: int, rows: int = 1, columns: int = 2) -> Tensor:
    """Random frames, the last one held until the last latent is full."""
    _, height, width = vae.config.compression
    generator = torch.Generator().manual_seed(num_frames)
    size = (num_frames, rows * height, columns * width, 3)
    frames = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    return torch.cat(list(hold_last([frames], spec_of(vae))))


def latents_of(vae: VideoVAE, num_frames: int, rows: int = 1, columns: int = 2) -> Tensor:
    count = spec_of(vae).latent_frames_covering(num_frames)
    return random_frames(vae.config.latent_channels, count, rows, columns, seed=num_frames)


def pieces(whole: Tensor, cuts: list[int], axis: int) -> tuple[Tensor, ...]:
    """Chunks of any length, empty ones too."""
    return whole.tensor_split(sorted(min(cut, whole.shape[axis]) for cut in cuts), axis)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("num_frames", NUM_FRAMES)
@settings(max_examples=4)
@given(cuts=some_cuts, block=st.integers(1, 5))
def test_any_chunks_encode_to_the_same_bits(num_frames: int, config: str, cuts: list[int], block: int) -> None:
    vae = tiny_vae(**CONFIGS[config])
    spec, frames = spec_of(vae), pixels_of(vae, num_frames)
    whole = encode_video(vae, spec, frames, CPU, block_latents=block)
    assert whole.shape == (4, spec.latent_frames_covering(num_frames), 1, 2)
    streamed = list(encode_stream(vae, spec, pieces(frames, cuts, 0), CPU, block_latents=block))
    assert torch.equal(torch.cat(streamed, 1), whole)
    assert max(part.shape[1] for part in streamed) <= block  # constant memory


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("num_frames", NUM_FRAMES)
@settings(max_examples=4)
@given(cuts=some_cuts, block=st.integers(1, 5))
def test_any_chunks_decode_to_the_same_bits(num_frames: int, config: str, cuts: list[int], block: int) -> None:
    vae = tiny_vae(**CONFIGS[config])
    spec, latents = spec_of(vae), latents_of(vae, num_frames)
    whole = torch.cat(list(decode_frames(vae, spec, [latents], CPU, block_latents=block)), 2)
    streamed = list(decode_frames(vae, spec, pieces(latents, cuts, 1), CPU, block_latents=block))
    assert torch.equal(torch.cat(streamed, 2), whole)
    assert whole.shape[2] == spec.video_frames(latents.shape[1]) >= num_frames
    assert max(part.shape[2] for part in streamed) <= block * spec.compression[0]
    seen = torch.cat(list(decode_stream(vae, spec, pieces(latents, cuts, 1), CPU, block_latents=block)))
    assert torch.equal(seen, to_pixels(whole))


@settings(max_examples=6)
@given(cuts=some_cuts)
def test_tiles_stream_to_the_same_bits(cuts: list[int]) -> None:
    """Each tile goes on from its own past."""
    vae = tiny_vae()
    spec, frames, latents = spec_of(vae), pixels_of(vae, 33, 5, 7), latents_of(vae, 33, 5, 7)
    given_: dict[str, Any] = {"block_latents": 2, "tiling": Tiling(size=4, overlap=1, reach=5)}
    whole = encode_video(vae, spec, frames, CPU, **given_)
    assert torch.equal(torch.cat(list(encode_stream(vae, spec, pieces(frames, cuts, 0), CPU, **given_)), 1), whole)
    decoded = torch.cat(list(decode_frames(vae, spec, [latents], CPU, **given_)), 2)
    parts = list(decode_frames(vae, spec, pieces(latents, cuts, 1), CPU, **given_))
    assert torch.equal(torch.cat(parts, 2), decoded)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_one_shot_and_chunks_are_the_plain_vae(num_frames: int, config: str, dtype: torch.dtype) -> None:
    vae = tiny_vae(**CONFIGS[config]).to(dtype)
    weights, step = vae.state_dict(), vae.config.compression[0]
    frames = to_frames(pixels_of(vae, num_frames, 2, 1)).to(dtype)
    latents = latents_of(vae, num_frames, 2, 1)[None].to(dtype)
    with torch.no_grad():
        expected = torch.stack(plain_vae.encode(weights, vae.config, frames))
        seen = plain_vae.decode(weights, vae.config, latents)
        assert_close(torch.stack(vae.encode(frames)[:2]), expected, dtype)
        assert_close(vae.decode(latents)[0], seen, dtype)
        cache: Cache = ()
        parts = []
        for chunk in [frames[:, :, :1], *frames[:, :, 1:].split(3 * step, 2)]:
            if chunk.shape[2]:
                mean, log_variance, cache = vae.encode(chunk, cache)
                parts.append(torch.stack([mean, log_variance]))
        assert_close(torch.cat(parts, 3), expected, dtype)
        cache, parts = (), []
        for chunk in latents.split(3, 2):
            decoded, cache = vae.decode(chunk, cache)
            parts.append(decoded)
        assert_close(torch.cat(parts, 2), seen, dtype)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_the_codec_is_the_plain_vae(num_frames: int, config: str) -> None:
    """With the numbers of latents put to mean 0 and deviation 1 on the way, in blocks of any size."""
    vae = tiny_vae(**CONFIGS[config])
    spec, frames, latents = spec_of(vae), pixels_of(vae, num_frames), latents_of(vae, num_frames)
    with torch.no_grad():
        mean, _ = plain_vae.encode(vae.state_dict(), vae.config, to_frames(frames))
        seen = plain_vae.decode(vae.state_dict(), vae.config, denormalise(latents[None], spec))
    for block in (1, 3, 4, 200):
        assert_close(encode_video(vae, spec, frames, CPU, block_latents=block), normalise(mean[0], spec), torch.float32)
        decoded = list(decode_frames(vae, spec, [latents], CPU, block_latents=block))
        assert_close(torch.cat(decoded, 2), seen, torch.float32)


def assert_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Within the tolerance of the largest number there is."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert float((found - expected).abs().max()) <= TOLERANCE[dtype] * float(expected.abs().max())


@pytest.mark.parametrize("num_frames", NUM_FRAMES)
@settings(max_examples=5)
@given(cuts=some_cuts)
def test_the_last_frame_is_held_until_a_latent_is_full(num_frames: int, cuts: list[int]) -> None:
    spec = spec_of(tiny_vae())
    frames = torch.arange(num_frames, dtype=torch.uint8).view(-1, 1, 1, 1)
    held = torch.cat(list(hold_last(pieces(frames, cuts, 0), spec)))
    spec.latent_frames(len(held))
    assert 0 <= len(held) - num_frames < 4
    assert torch.equal(held[:num_frames], frames) and bool((held[num_frames:] == num_frames - 1).all())


def test_no_frames_are_none_to_hold() -> None:
    assert list(hold_last([torch.zeros(0, 8, 8, 3)], spec_of(tiny_vae()))) == []
