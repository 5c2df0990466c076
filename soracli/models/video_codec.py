"""What everything downstream asks of a video VAE: sora's own and published ones stand behind it alike.

Axes: B batch, C channels, T frames, H rows, W columns; primes are latents. The first frame is encoded alone, so
``1 + k * compression[0]`` frames are ``1 + k`` latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn

State = tuple[Any, ...]
"""What a VAE has to remember of a video between two chunks; empty before the first. Only the VAE looks inside."""


class VideoCodec(Protocol):
    """Frames to raw latents and back; ``LatentSpec`` says how they are normalised."""

    @property
    def streams(self) -> bool:
        """Whether a video may come chunk by chunk; otherwise it is given whole, and memory grows with its length."""

    def encode(self, frames: Tensor, cache: State = ()) -> tuple[Tensor, Tensor, State]:
        """Encode a video or its next chunk.

        Args:
            frames: ``(B, 3, T, H, W)`` in [-1, 1]; T = 1 + k * compression[0] at the start, k * compression[0] later.
            cache: What the call before returned; empty at the start of a video.

        Returns:
            Mean and log variance ``(B, C, T', H', W')``, and the cache for the next chunk.
        """

    def decode(self, latents: Tensor, cache: State = ()) -> tuple[Tensor, State]:
        """Decode latents or their next chunk.

        Args:
            latents: ``(B, C, T', H', W')``, raw (not normalised).
            cache: What the call before returned; empty at the start of a video.

        Returns:
            Frames ``(B, 3, T, H, W)``, about [-1, 1], and the cache for the next chunk.
        """

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights: they tell the number type and the device that it computes with."""
