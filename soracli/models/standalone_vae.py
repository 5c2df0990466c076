"""A video VAE made with sora, by itself: this file needs torch and safetensors, and nothing of sora.

::

    from video_vae import load_codec

    codec = load_codec("FOLDER")            # that has model.safetensors and config.json
    latents, _ = codec.encode(frames)       # (B, 3, T, H, W) in [-1, 1], T = 1 + k * compression[0]
    frames, _ = codec.decode(latents)

For videos of any length in constant memory, give chunks and hand the second result on::

    cache = ()
    for chunk in chunks:                    # 1 + k * compression[0] frames first, k * compression[0] later
        latents, cache = codec.encode(chunk, cache)
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from soracli.models.layers.causal import Cache
from soracli.models.video_vae import VideoVAE


class LatentCodec(nn.Module):
    """The VAE with the mean and deviation of its latents: they come out normalised, and go in so.

    Attributes:
        compression: Frames, rows and columns of pixels per latent.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vae: VideoVAE, mean: Tensor, std: Tensor, compression: tuple[int, ...]) -> None:
        super().__init__()
        self.vae = vae
        self.compression = compression
        self.register_buffer("mean", mean[:, None, None, None])
        self.register_buffer("std", std[:, None, None, None])

    def encode(self, frames: Tensor, cache: Cache = ()) -> tuple[Tensor, Cache]:
        """Encode a video or its next chunk.

        Args:
            frames: ``(B, 3, T, H, W)`` in [-1, 1]; the first frame of a video is encoded alone.
            cache: What the call before returned; empty at the start of a video.

        Returns:
            Normalised latents ``(B, C, T', H', W')``, and the cache for the next chunk.
        """
        mean, _, cache = self.vae.encode(frames, cache)
        return (mean - self.mean) / self.std, cache

    def decode(self, latents: Tensor, cache: Cache = ()) -> tuple[Tensor, Cache]:
        """Decode normalised latents or their next chunk.

        Args:
            latents: ``(B, C, T', H', W')``.
            cache: What the call before returned; empty at the start of a video.

        Returns:
            Frames ``(B, 3, T, H, W)``, about [-1, 1], and the cache for the next chunk.
        """
        return self.vae.decode(latents * self.std + self.mean, cache)


def load_codec(folder: str | Path = Path(__file__).parent) -> LatentCodec:
    """Read an exported VAE, in float32 on the CPU.

    Args:
        folder: With ``model.safetensors`` and ``config.json``; that of this file if none is named.
    """
    folder = Path(folder)
    record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    latents = record["latents"]
    values = json.loads(json.dumps(record["config"]), object_hook=lambda section: SimpleNamespace(**section))
    config: Any = SimpleNamespace(**vars(values), compression=tuple(latents["compression"]))
    vae = VideoVAE(config)
    stored = load_file(folder / "model.safetensors")
    vae.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in stored.items()})
    mean, std = (torch.tensor(latents[name]) for name in ("mean", "std"))
    return LatentCodec(vae, mean, std, config.compression).eval().requires_grad_(False)
