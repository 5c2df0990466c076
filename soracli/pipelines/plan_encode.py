"""``sora vae encode --dry-run``: what would be encoded into what, checked and counted without encoding anything."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import torch

import soracli
from soracli.core.errors import UsageError, nearest
from soracli.core.files import sha256_file
from soracli.core.latent_spec import LatentSpec
from soracli.data.latents_file import refuse_existing
from soracli.data.latents_record import LatentsRecord, StoredType
from soracli.data.video_info import VideoInfo
from soracli.data.video_read import probe_video
from soracli.models.store import load_vae
from soracli.models.tiles import Tiling, encoder_reach
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.plan_tiles import Tile, choose_tiling, tiles_text
from soracli.training.device import choose_device


@dataclass(frozen=True, kw_only=True)
class EncodePlan:
    """All that decides a file of latents.

    Attributes:
        info: The video.
        vae: What encodes it.
        spec: Of its latents.
        record: What the file will say.
        block_latents: Latent frames that are computed at once.
        tiling: How frames are cut, if they are.
        background: RGB colour under transparent parts.
        device: Where it is computed.
        out: The file.
    """

    info: VideoInfo
    vae: VideoCodec
    spec: LatentSpec
    record: LatentsRecord
    block_latents: int
    tiling: Tiling | None
    background: tuple[int, int, int]
    device: torch.device
    out: Path

    def facts(self) -> dict[str, Any]:
        """What a person or a program wants to know beforehand, as JSON values."""
        frames, rows, columns = self.record.padding
        return {
            "video": self.info.path,
            "num_frames": self.record.num_frames,
            "width": self.record.width,
            "height": self.record.height,
            "fps": str(self.record.fps),
            "vae": self.spec.vae_hash,
            "shape": self.record.shape,
            "dtype": self.record.stored,
            "num_bytes": self.record.num_bytes,
            "padding": {"frames": frames, "rows": rows, "columns": columns},
            "chunk_frames": self.block_latents * self.spec.compression[0],
            "tiles": tiles_text(self.tiling, self.record.shape[2:], self.spec.compression[1]),
            "device": str(self.device),
            "out": self.out,
        }


def plan_encode(
    video: Path,
    *,
    model: Path,
    out: Path,
    chunk_frames: int = 16,
    tile: Tile = "auto",
    tile_overlap: int | None = None,
    dtype: str = "float32",
    background: tuple[int, int, int] = (255, 255, 255),
    overwrite: bool = False,
    device: str = "auto",
) -> EncodePlan:
    """Check and count; see ``encode_file``.

    Raises:
        SoraError: For anything that would stop the encoding at its start.
    """
    if dtype not in get_args(StoredType):
        guess = nearest(dtype, get_args(StoredType))
        hint = f"; did you mean {guess}?" if guess else ""
        raise UsageError(f"latents are not stored as '{dtype}'{hint} ({', '.join(get_args(StoredType))})")
    refuse_existing(out, overwrite)
    if out.exists() and video.exists() and out.samefile(video):
        raise UsageError(f"--out {out} is the video itself; give another name")
    place = choose_device(device)
    vae, spec = load_vae(model, place)
    info = probe_video(video)
    block_latents = spec.latents_within(chunk_frames)
    tiling = choose_tiling(
        vae,
        spec.latent_size_covering(info.height, info.width),
        see=encoder_reach,
        block_latents=block_latents,
        tile=tile,
        overlap=tile_overlap,
    )
    side = spec.compression[1]
    made = {
        "source": video.name,
        "source_sha256": sha256_file(video),
        "background": "#{:02x}{:02x}{:02x}".format(*background),
        "chunk_frames": block_latents * spec.compression[0],
        "tile": tiling and tiling.size * side,
        "tile_overlap": tiling and tiling.overlap * side,
        "sora": soracli.__version__,
    }
    record = LatentsRecord(
        spec=spec,
        num_frames=info.num_frames,
        height=info.height,
        width=info.width,
        fps=Fraction(info.fps).limit_denominator(100_000),
        stored=dtype,  # type: ignore[arg-type]
        made=made,
    )
    return EncodePlan(
        info=info,
        vae=vae,
        spec=spec,
        record=record,
        block_latents=block_latents,
        tiling=tiling,
        background=background,
        device=place,
        out=out,
    )
