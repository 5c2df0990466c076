"""``sora vae decode --dry-run``: what a file of latents holds and would be decoded to, checked without decoding it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

import soracli
from soracli.core.errors import ArtifactError, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.data.latents_file import read_latents_record, refuse_existing
from soracli.data.latents_record import LatentsRecord
from soracli.data.video_write import checked_suffix
from soracli.models.store import load_vae
from soracli.models.tiles import Tiling, decoder_reach
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.plan_tiles import Tile, choose_tiling, tiles_text
from soracli.training.device import choose_device


@dataclass(frozen=True, kw_only=True)
class DecodePlan:
    """All that decides a decoded video.

    Attributes:
        latents: The file of latents.
        record: What it says of itself.
        vae: What decodes it.
        spec: Of its latents.
        block_latents: Latent frames that are computed at once.
        tiling: How frames are cut, if they are.
        device: Where it is computed.
        out: The video.
    """

    latents: Path
    record: LatentsRecord
    vae: VideoCodec
    spec: LatentSpec
    block_latents: int
    tiling: Tiling | None
    device: torch.device
    out: Path

    def about(self) -> dict[str, Any]:
        """What the video will say of how it was made."""
        side = self.spec.compression[1]
        return {
            "latents": self.latents.name,
            "latents_sha256": self.record.sha256,
            "vae": self.spec.vae_hash,
            "num_frames": self.record.num_frames,
            "chunk_frames": self.block_latents * self.spec.compression[0],
            "tile": self.tiling and self.tiling.size * side,
            "tile_overlap": self.tiling and self.tiling.overlap * side,
            "device": self.device.type,
            "sora": soracli.__version__,
        }

    def facts(self) -> dict[str, Any]:
        """What a person or a program wants to know beforehand, as JSON values."""
        return {
            "latents": self.latents,
            "shape": self.record.shape,
            "dtype": self.record.stored,
            "vae": self.spec.vae_hash,
            "made": dict(self.record.made),
            "num_frames": self.record.num_frames,
            "width": self.record.width,
            "height": self.record.height,
            "fps": str(self.record.fps),
            "chunk_frames": self.block_latents * self.spec.compression[0],
            "tiles": tiles_text(self.tiling, self.record.shape[2:], self.spec.compression[1]),
            "device": str(self.device),
            "out": self.out,
        }


def plan_decode(
    latents: Path,
    *,
    model: Path,
    out: Path,
    chunk_frames: int = 16,
    tile: Tile = "auto",
    tile_overlap: int | None = None,
    overwrite: bool = False,
    device: str = "auto",
) -> DecodePlan:
    """Check and count; see ``decode_file``.

    Raises:
        SoraError: For anything that would stop the decoding at its start.
    """
    suffix = checked_suffix(out)
    refuse_existing(out, overwrite)
    record = read_latents_record(latents)
    if suffix == ".png" and record.num_frames > 1:
        raise UsageError(f"{out.name} holds one picture, {latents} is {record.num_frames} frames; name a .mp4")
    place = choose_device(device)
    vae, spec = load_vae(model, place)
    check_spec(latents, record.spec, model, spec)
    block_latents = spec.latents_within(chunk_frames)
    tiling = choose_tiling(
        vae,
        record.shape[2:],
        see=decoder_reach,
        block_latents=block_latents,
        tile=tile,
        overlap=tile_overlap,
    )
    return DecodePlan(
        latents=latents,
        record=record,
        vae=vae,
        spec=spec,
        block_latents=block_latents,
        tiling=tiling,
        device=place,
        out=out,
    )


def check_spec(latents: Path, found: LatentSpec, model: Path, spec: LatentSpec) -> None:
    """Refuse a VAE that is not the one that made the latents.

    Raises:
        ArtifactError: Naming both, or what differs although they have one name.
    """
    if found.vae_hash != spec.vae_hash:
        raise ArtifactError(
            f"{latents} holds latents of VAE {_name(found)}, but {model} holds VAE {_name(spec)}: "
            "name the one that made them with --model"
        )
    for field in fields(LatentSpec):
        if getattr(found, field.name) != getattr(spec, field.name):
            raise ArtifactError(
                f"{latents} and {model} are of VAE {spec.vae_hash[:12]}, but the {field.name} of its latents differ: "
                "encode the video again"
            )


def _name(spec: LatentSpec) -> str:
    return f"{spec.vae_hash[:12]} ({spec.channels} channels at {'x'.join(map(str, spec.compression))})"
