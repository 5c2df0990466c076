"""All arithmetic between seconds, frames and latents, in one frozen record.

The VAE writes its ``LatentSpec``; latent shards and the DiT carry it on. Axes are (t, h, w). A causal VAE
encodes the first frame alone, so ``1 + k * compression[0]`` frames give ``1 + k`` latents and an image is a
one-frame video.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from soracli.core.errors import ArtifactError, DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class LatentSpec:
    """What the latents of one VAE are.

    Attributes:
        channels: Latent channels C.
        compression: Frames, rows and columns of pixels per latent.
        mean: Per-channel mean of the raw latents, C numbers; subtracted before anything sees them.
        std: Per-channel standard deviation of the raw latents, C numbers, positive.
        vae_hash: Hash of what defines these latents: the encoder's weights, and these numbers.
    """

    channels: int
    compression: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    vae_hash: str

    def __post_init__(self) -> None:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ArtifactError(
                f"latent spec has {self.channels} channels but {len(self.mean)} means and {len(self.std)} deviations"
            )
        if min(self.channels, *self.compression) < 1:
            raise ArtifactError("latent spec needs channels and compressions of at least 1")
        if min(self.std) <= 0 or not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ArtifactError("latent spec needs finite means and positive, finite deviations")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LatentSpec:
        """From what ``to_dict`` gave.

        Raises:
            ArtifactError: If a field is missing, unknown or out of range.
        """
        try:
            return cls(
                channels=int(values["channels"]),
                compression=(
                    int(values["compression"][0]),
                    int(values["compression"][1]),
                    int(values["compression"][2]),
                ),
                mean=tuple(float(value) for value in values["mean"]),
                std=tuple(float(value) for value in values["std"]),
                vae_hash=str(values["vae_hash"]),
            )
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise ArtifactError(f"latent spec is damaged: {error!r}") from error

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of ``num_frames`` frames.

        Raises:
            DataError: If the number does not fit; names the two nearest that do.
        """
        step = self.compression[0]
        if num_frames < 1 or (num_frames - 1) % step:
            below = max(1, num_frames - (num_frames - 1) % step)
            raise DataError(
                f"{num_frames} frames do not fit a causal compression of {step}: use {below} or {below + step}"
            )
        return 1 + (num_frames - 1) // step

    def video_frames(self, latent_frames: int) -> int:
        """Frames that ``latent_frames`` latents decode to."""
        return 1 + (latent_frames - 1) * self.compression[0]

    def latent_frames_covering(self, num_frames: int) -> int:
        """The fewest latents that decode to at least ``num_frames`` frames."""
        return 1 + math.ceil((num_frames - 1) / self.compression[0])

    def latents_within(self, num_frames: int) -> int:
        """The most latents, after the first of a video, that hold no more than ``num_frames`` frames; at least one."""
        return max(1, num_frames // self.compression[0])

    def num_frames_for(self, seconds: float, fps: float) -> int:
        """Frames to show for ``seconds`` at ``fps``; at least one.

        Raises:
            UsageError: If the length is not positive.
        """
        if not seconds > 0 or not math.isfinite(seconds):
            raise UsageError(
                f"--seconds must be above 0, got {seconds:g}; the shortest video is one frame: {1 / fps:.3g}"
            )
        return max(1, round(seconds * fps))

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of latents of a frame.

        Raises:
            UsageError: If a side is no multiple of the compression; names the nearest size.
        """
        rows, columns = self.compression[1], self.compression[2]
        if height < 1 or width < 1 or height % rows or width % columns:
            near_width = max(columns, round(width / columns) * columns)
            near_height = max(rows, round(height / rows) * rows)
            raise UsageError(
                f"size {width}x{height} does not fit the model: sides must be multiples of {columns}x{rows}; "
                f"the nearest is {near_width}x{near_height}"
            )
        return height // rows, width // columns

    def latent_size_covering(self, height: int, width: int) -> tuple[int, int]:
        """The fewest rows and columns of latents that decode to at least ``height`` by ``width`` pixels."""
        return math.ceil(height / self.compression[1]), math.ceil(width / self.compression[2])

    def latent_times(self, latent_frames: int, fps: float, start: float = 0.0) -> list[float]:
        """Time in seconds of each latent: the mean time of the frames it holds.

        Args:
            latent_frames: How many latents, the first holding one frame; 0 gives no times.
            fps: Frames a second.
            start: Time of the first frame, in seconds.
        """
        step = self.compression[0]
        centres = [0.0] + [1 + step * index + (step - 1) / 2 for index in range(latent_frames - 1)]
        return [start + centre / fps for centre in centres[:latent_frames]]
