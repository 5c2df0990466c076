"""Models small enough for tests, with every weight away from its start, where many are 0."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from soracli.core.latent_spec import LatentSpec
from soracli.models.config import DiTConfig, TextEncoderConfig, VAEConfig
from soracli.models.dit import DiT
from soracli.models.layers.linear_code import LinearPath
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokens import Piece
from soracli.models.video_vae import VideoVAE

M = TypeVar("M", bound=nn.Module)

VAE = VAEConfig(latent_channels=4, patch_size=2, widths=(4, 6, 8), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1, 1))
"""Compression (4, 8, 8)."""
DIT = DiTConfig(hidden_size=24, depth=2, num_heads=2, modulation_rank=4)
TEXT = TextEncoderConfig(vocabulary_size=300, hidden_size=16, depth=1, num_heads=2)
SPEC = LatentSpec(
    channels=4, compression=(4, 8, 8), mean=(0.1, -0.2, 0.3, 0.0), std=(0.5, 2.0, 1.0, 1.5), vae_hash="0" * 64
)


def stir(module: M, seed: int = 0, size: float = 0.3) -> M:
    """Move every weight by a random number, so that no layer is silent."""
    generator = torch.Generator().manual_seed(seed)
    fixed = [part for part in module.modules() if isinstance(part, LinearPath)]
    with torch.no_grad():
        for parameter in (*module.parameters(), *(number for part in fixed for number in part.buffers())):
            fan_in = parameter.shape[-1] if parameter.ndim > 1 else 1.0
            parameter += size * fan_in**-0.5 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return module


def tiny_vae(**changes: Any) -> VideoVAE:
    torch.manual_seed(0)
    return stir(VideoVAE(VAE.model_copy(update=changes)), size=1.0).eval()


def tiny_dit(**changes: Any) -> DiT:
    torch.manual_seed(1)
    return stir(DiT(DIT.model_copy(update=changes), 4, TEXT.hidden_size), 1).eval()


def tiny_text() -> TextEncoder:
    torch.manual_seed(2)
    return stir(TextEncoder(TEXT), 2).eval()


def random_frames(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers in [-1, 1]."""
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 1


def piece(
    num_frames: int,
    block: int,
    clean: bool,
    *,
    t: float = 0.0,
    start: int = 0,
    size: tuple[int, int] = (4, 6),
    seed: int = 0,
) -> Piece:
    """Random latents at quarters of a second; the very first latent of a video holds one frame."""
    generator = torch.Generator().manual_seed(1000 * seed + 10 * block + clean)
    number = start + torch.arange(num_frames)
    return Piece(
        latents=torch.randn(4, num_frames, *size, generator=generator),
        seconds=0.25 * number,
        one_frame=number == 0,
        t=torch.full((num_frames,), t),
        block=block,
        clean=clean,
    )
