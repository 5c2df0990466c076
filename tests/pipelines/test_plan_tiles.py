"""Which frames are cut, and how: by hand, and for all sizes that the memory of one layer is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import UsageError
from soracli.models.config import VAEConfig
from soracli.models.tiles import TileGrid, Tiling, cut_axis
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.plan_tiles import choose_tiling, tiles_text

with torch.device("meta"):
    NANO = VideoVAE(VAEConfig())  # 4x16x16; 64 channels at a quarter of the size: 16 KiB for each latent


def eight(_: VAEConfig) -> int:
    return 8


def test_auto_cuts_what_is_large() -> None:
    for size, block, expected in (
        ((64, 64), 4, None),  # 1024x1024, exactly 256 MiB
        ((30, 130), 4, None),  # wide, but not large
        ((65, 64), 4, Tiling(64, 8, 8)),
        ((135, 240), 4, Tiling(64, 8, 8)),  # 4K
        ((135, 240), 1, Tiling(128, 8, 8)),  # the fewer frames at once, the larger the tiles
        ((135, 240), 400, Tiling(32, 8, 8)),  # never more overlap than content
    ):
        assert choose_tiling(NANO, size, see=eight, block_latents=block) == expected
    assert choose_tiling(NANO, (135, 240), see=eight, block_latents=4, tile="off") is None


@given(rows=st.integers(1, 500), columns=st.integers(1, 500), block=st.integers(1, 8))
def test_auto_keeps_a_layer_small(rows: int, columns: int, block: int) -> None:
    tiling = choose_tiling(NANO, (rows, columns), see=eight, block_latents=block)
    grid = TileGrid((rows, columns), tiling)
    most = max((down.stop - down.start) * (across.stop - across.start) for down, across in grid.tiles)
    assert most * block * (16 << 10) <= 256 << 20


def test_a_side_in_pixels() -> None:
    def choose(tile: int, overlap: int | None) -> Tiling | None:
        return choose_tiling(NANO, (45, 80), see=eight, block_latents=4, tile=tile, overlap=overlap)

    assert choose(512, None) == choose(527, 128) == choose(512, 9999) == Tiling(32, 8, 8)
    assert choose(512, 33) == Tiling(32, 3, 8)
    assert choose(16, 0) == Tiling(1, 0, 8)
    assert choose(1280, None) is None
    assert choose(1279, None) == Tiling(79, 8, 8)
    with pytest.raises(UsageError) as caught:
        choose(256, None)
    assert str(caught.value) == (
        "--tile 256 leaves nothing of a tile: each overlaps by 128 pixels on both sides; "
        "use at least 272, or a smaller --tile-overlap"
    )
    assert choose(272, None) == Tiling(17, 8, 8)
    with pytest.raises(UsageError, match=r"overlaps by 0 pixels on both sides; use at least 16$"):
        choose(15, 0)


def test_in_words() -> None:
    assert tiles_text(None, (45, 80), 16) == "whole frames"
    assert tiles_text(Tiling(32, 8, 8), (45, 80), 16) == (
        "5x3 tiles of up to 512 pixels, overlapping by 128, exact but for rounding"
    )
    assert tiles_text(Tiling(32, 2, 8), (45, 80), 16) == (
        "3x2 tiles of up to 512 pixels, overlapping by 32, of the 128 that would be exact"
    )
    assert len(cut_axis(80, Tiling(32, 8, 8))) == 5


def test_a_published_vae_is_given_whole_frames() -> None:
    published: Any = torch.nn.Linear(1, 1)  # nothing that says how far it sees
    assert choose_tiling(published, (500, 500), see=eight, block_latents=4) is None
    with pytest.raises(UsageError, match="--tile 64: a published VAE is given whole frames; use --tile off"):
        choose_tiling(published, (500, 500), see=eight, block_latents=4, tile=64)
