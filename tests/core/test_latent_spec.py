"""What covers a video and what fits into a chunk, by trying the neighbours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soracli.core.latent_spec import LatentSpec

specs = st.builds(
    LatentSpec,
    channels=st.just(1),
    compression=st.tuples(*[st.integers(1, 9)] * 3),
    mean=st.just((0.0,)),
    std=st.just((1.0,)),
    vae_hash=st.just("ab"),
)


@given(spec=specs, height=st.integers(1, 100), width=st.integers(1, 100))
def test_the_fewest_rows_and_columns_that_cover_a_frame(spec: LatentSpec, height: int, width: int) -> None:
    rows, columns = spec.latent_size_covering(height, width)
    _, down, across = spec.compression
    assert (rows - 1) * down < height <= rows * down
    assert (columns - 1) * across < width <= columns * across
    assert spec.latent_size(rows * down, columns * across) == (rows, columns)


@given(spec=specs, num_frames=st.integers(1, 100))
def test_the_most_latents_within_so_many_frames(spec: LatentSpec, num_frames: int) -> None:
    latents = spec.latents_within(num_frames)
    frames = spec.video_frames(1 + latents) - 1  # of latents behind the first
    assert latents == 1 or frames <= num_frames
    assert frames + spec.compression[0] > num_frames
