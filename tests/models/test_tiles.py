"""How far the VAE sees, by changing what it is given; tiles with as much around them against whole frames."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.core.latent_spec import LatentSpec
from soracli.models.codec import decode_frames, encode_video
from soracli.models.config import VAEConfig
from soracli.models.seams import decoding_error, encoding_error, meeting
from soracli.models.tiles import TileGrid, Tiling, cut_axis, decoder_reach, encoder_reach
from soracli.models.video_vae import VideoVAE
from tests.models.tiny import random_frames, tiny_vae

CPU = torch.device("cpu")
CONFIGS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "deep": {"encoder_blocks": (2, 1, 3), "decoder_blocks": (3, 0, 1)},
    "bare": {"encoder_blocks": (0, 1, 0), "decoder_blocks": (0, 0, 1)},
    "two levels": {
        **{"widths": (4, 5), "temporal_strides": (2,), "patch_size": 3},
        **{"encoder_blocks": (1, 2), "decoder_blocks": (2, 1)},
    },
    "one level": {
        **{"widths": (5,), "temporal_strides": (), "patch_size": 4},
        **{"encoder_blocks": (2,), "decoder_blocks": (1,)},
    },
}


def spec_of(vae: VideoVAE) -> LatentSpec:
    return LatentSpec(
        channels=4, compression=vae.config.compression, mean=(0.0,) * 4, std=(1.0,) * 4, vae_hash="0" * 64
    )


def pixels_of(vae: VideoVAE, num_frames: int, rows: int, columns: int) -> torch.Tensor:
    _, height, width = vae.config.compression
    generator = torch.Generator().manual_seed(rows)
    size = (num_frames, rows * height, columns * width, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_latent_sees_as_far_as_is_said_and_no_farther(name: str) -> None:
    vae = tiny_vae(**CONFIGS[name]).double()
    reach, (_, side, _) = encoder_reach(vae.config), vae.config.compression
    middle = reach + 1
    frames = random_frames(1, 3, 1, side, (2 * middle + 1) * side, dtype=torch.float64)
    seen = set()
    for column in range(frames.shape[4]):
        other = frames.clone()
        other[..., column] += 10
        changed = (vae.encode(other)[0] - vae.encode(frames)[0]).abs().amax((0, 1, 2, 3)) > 0
        if changed[middle]:
            seen.add(column // side - middle)
    assert max(map(abs, seen)) == reach
    assert seen == set(range(min(seen), max(seen) + 1))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_latent_is_seen_as_far_as_is_said_and_no_farther(name: str) -> None:
    vae = tiny_vae(**CONFIGS[name]).double()
    reach, (_, side, _) = decoder_reach(vae.config), vae.config.compression
    middle = reach + 1
    latents = random_frames(1, 4, 1, 1, 2 * middle + 1, dtype=torch.float64)
    other = latents.clone()
    other[..., middle] += 10
    changed = (vae.decode(other)[0] - vae.decode(latents)[0]).abs().amax((0, 1, 2, 3)) > 0
    seen = {column // side - middle for column in changed.nonzero()[:, 0].tolist()}
    assert max(map(abs, seen)) == reach


def test_the_reach_of_the_defaults() -> None:
    """By hand: 7 positions of a quarter and so on; see the two functions."""
    assert (encoder_reach(VAEConfig()), decoder_reach(VAEConfig())) == (5, 8)


@given(length=st.integers(1, 60), size=st.integers(1, 20), overlap=st.integers(0, 9), reach=st.integers(0, 12))
def test_tiles_cover_an_axis_once(length: int, size: int, overlap: int, reach: int) -> None:
    tiling = Tiling(size=max(size, 2 * overlap + 1), overlap=min(overlap, reach), reach=reach)
    spans = cut_axis(length, tiling)
    assert max(span.stop - span.start for span in spans) <= tiling.size
    assert (spans[0].start, spans[-1].stop) == (0, length)
    assert [span.hands_over for span in spans[:-1]] == [span.takes_over for span in spans[1:]]
    for span in spans:
        assert span.takes_over is None or span.start == max(0, span.takes_over - tiling.overlap)
        assert span.hands_over is None or span.stop == min(length, span.hands_over + tiling.overlap)
    grid = TileGrid((length, 1), tiling)
    ones = [torch.ones(rows.stop - rows.start, 1).repeat_interleave(3, 0) for rows, _ in grid.tiles]
    torch.testing.assert_close(grid.join(ones, (3, 1)), torch.ones(3 * length, 1))
    inner, outer = meeting(spans, tiling)
    assert 0 <= outer.start <= inner.start < inner.stop <= outer.stop <= length


def test_with_a_whole_reach_nothing_is_blended() -> None:
    """Each tile alone decides up to where the next takes over."""
    tiling = Tiling(size=10, overlap=3, reach=3)
    grid = TileGrid((9, 11), tiling)
    assert len(grid.tiles) == 3  # 9 rows fit into one tile; 11 columns are 3 times at most 4
    parts = [
        torch.full((9, columns.stop - columns.start), float(index)) for index, (_, columns) in enumerate(grid.tiles)
    ]
    assert grid.join(parts)[4].tolist() == [0.0] * 3 + [1.0] * 4 + [2.0] * 4


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=4)
@given(rows=st.integers(1, 20), columns=st.integers(9, 24), more=st.integers(1, 4))
def test_tiles_with_a_whole_reach_are_the_whole_frame(name: str, rows: int, columns: int, more: int) -> None:
    vae = tiny_vae(**CONFIGS[name])
    spec = spec_of(vae)
    pixels = pixels_of(vae, 1 + 2 * spec.compression[0], rows, columns)
    latents = random_frames(4, 3, rows, columns)
    tiling = exact(encoder_reach(vae.config), more)
    found = encode_video(vae, spec, pixels, CPU, block_latents=2, tiling=tiling)
    torch.testing.assert_close(found, encode_video(vae, spec, pixels, CPU, block_latents=2), atol=1e-5, rtol=1e-5)
    tiling = exact(decoder_reach(vae.config), more)
    found, whole = (
        torch.cat(list(decode_frames(vae, spec, [latents], CPU, block_latents=2, tiling=cut)), 2)
        for cut in (tiling, None)
    )
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)


def exact(reach: int, more: int) -> Tiling:
    return Tiling(size=2 * reach + more, overlap=reach, reach=reach)


def test_one_less_than_the_reach_is_not_exact_and_more_overlap_is_better() -> None:
    """What is measured at a seam is what the frame whole says, and it falls with the overlap."""
    vae = tiny_vae(decoder_blocks=(1, 1, 2))
    spec, latents = spec_of(vae), random_frames(4, 2, 26, 25)
    pixels = pixels_of(vae, 5, 26, 25)
    for reach, error_of in ((decoder_reach(vae.config), decoding), (encoder_reach(vae.config), encoding)):
        found = []
        for overlap in range(reach + 1):
            tiling = Tiling(size=2 * overlap + 7, overlap=overlap, reach=reach)
            (measured, rms), difference = error_of(vae, spec, latents if error_of is decoding else pixels, tiling)
            # The middlemost junction stands for all of them.
            assert measured <= float(difference.abs().max()) * 1.001 + 1e-4
            assert rms <= measured
            found.append(measured)
            if overlap < reach:
                assert measured > 0.1 * float(difference.abs().max()) > 0
        assert found[reach] < 1e-3 < found[0]
        assert found[0] > 3 * found[reach // 2 + 1]


def decoding(
    vae: VideoVAE, spec: LatentSpec, latents: torch.Tensor, tiling: Tiling
) -> tuple[tuple[float, float], torch.Tensor]:
    measured = decoding_error(vae, spec, latents, CPU, block_latents=4, tiling=tiling)
    one, other = (next(decode_frames(vae, spec, [latents], CPU, tiling=cut)) for cut in (tiling, None))
    return (measured.largest, measured.rms), 127.5 * (one - other)


def encoding(
    vae: VideoVAE, spec: LatentSpec, pixels: torch.Tensor, tiling: Tiling
) -> tuple[tuple[float, float], torch.Tensor]:
    measured = encoding_error(vae, spec, pixels, CPU, block_latents=4, tiling=tiling)
    one, other = (encode_video(vae, spec, pixels, CPU, tiling=cut) for cut in (tiling, None))
    return (measured.largest, measured.rms), one - other
