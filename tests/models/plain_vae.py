"""The video VAE once more, plainly: one causal 3D convolution after another over the whole video, no cache, no chunks.

Written from the description of the model, with weights out of its state dict; nothing of ``soracli.models`` is used, so
that the two can only agree by computing the same. Zeros in front and around are put there by hand. Every layer is a
function of a ``Layer``, and what a level does to its channels between convolutions is in ``norm`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import conv3d, conv_transpose3d, pad

from soracli.models.config import VAEConfig

Weights = Mapping[str, Tensor]


def encode(weights: Weights, config: VAEConfig, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance of latents ``(B, C, T', H', W')`` of frames ``(B, 3, T, H, W)``."""
    p, last = config.patch_size, len(config.widths) - 1
    x = rearrange(frames, "b c t (h p) (w q) -> b (p q c) t h w", p=p, q=p)
    x = over_space(weights, "encoder.stem.conv", x)
    for level, blocks in enumerate(config.encoder_blocks):
        for block in range(blocks):
            x = residual(weights, f"encoder.levels.{level}.{block}", x)
        if level < last:
            x = over_space(weights, f"encoder.downs.{level}.space.conv", x, stride=2)
            x = gather_frames(weights, f"encoder.downs.{level}.time.conv", x, config.temporal_strides[level])
    x = over_space(weights, "encoder.head.conv", silu(norm(weights, "encoder.norm", x)))
    mean, log_variance = x.split(config.latent_channels, 1)
    if config.linear_code:
        mean = mean + linear_latents(weights, config, frames)
    return mean, log_variance.clamp(-12, 4)


def decode(weights: Weights, config: VAEConfig, latents: Tensor) -> Tensor:
    """Frames ``(B, 3, T, H, W)`` of raw latents ``(B, C, T', H', W')``."""
    p, last = config.patch_size, len(config.widths) - 1
    x = over_space(weights, "decoder.stem.conv", latents)
    for index, blocks in enumerate(reversed(config.decoder_blocks)):
        for block in range(blocks):
            x = residual(weights, f"decoder.levels.{index}.{block}", x)
        if index < last:
            x = over_space(weights, f"decoder.ups.{index}.space.conv", x)
            x = rearrange(x, "b (p q c) t h w -> b c t (h p) (w q)", p=2, q=2)
            x = spread_frames(weights, f"decoder.ups.{index}.time.conv", x, config.temporal_strides[last - 1 - index])
    x = over_space(weights, "decoder.head.conv", silu(norm(weights, "decoder.norm", x)))
    frames = rearrange(x, "b (p q c) t h w -> b c t (h p) (w q)", p=p, q=p)
    return frames + linear_frames(weights, config, latents) if config.linear_code else frames


def linear_latents(weights: Weights, config: VAEConfig, frames: Tensor) -> Tensor:
    """Each latent as one strided convolution of the pixels under it; the first sees a frame, the others a group."""
    t, h, w = config.compression
    found = []
    for name, part, deep in (("first", frames[:, :, :1], 1), ("later", frames[:, :, 1:], t)):
        kernel = weights[f"encoder.linear.{name}_weight"].view(-1, 3, deep, h, w)
        if part.shape[2]:
            found.append(conv3d(part, kernel, weights[f"encoder.linear.{name}_bias"], (deep, h, w)))
    return torch.cat(found, 2)


def linear_frames(weights: Weights, config: VAEConfig, latents: Tensor) -> Tensor:
    """The way back, as transposed convolutions; what is added to each pixel is put there afterwards."""
    t, h, w = config.compression
    found = []
    for name, part, deep in (("first", latents[:, :, :1], 1), ("later", latents[:, :, 1:], t)):
        kernel = weights[f"decoder.linear.{name}_weight"].T.reshape(-1, 3, deep, h, w)
        if part.shape[2]:
            bias = weights[f"decoder.linear.{name}_bias"].view(3, deep, h, w)
            shape = part.shape[2:]
            found.append(conv_transpose3d(part, kernel, stride=(deep, h, w)) + bias.repeat(1, *shape))
    return torch.cat(found, 2)


def residual(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Norm, SiLU, 3x3 over space; norm, SiLU, 3 over time; and the way around."""
    h = over_space(weights, f"{name}.space.conv", silu(norm(weights, f"{name}.space_norm", x)))
    return x + over_time(weights, f"{name}.time.conv", silu(norm(weights, f"{name}.time_norm", h)))


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Channels of each position divided by their root mean square, times a gain."""
    return x / (x.pow(2).mean(1, keepdim=True) + 1e-6).sqrt() * weights[f"{name}.gain"].view(-1, 1, 1, 1)


def silu(x: Tensor) -> Tensor:
    """Each number over 1 + exp(-number)."""
    return x * torch.sigmoid(x)


def over_space(weights: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """3x3 over every frame, zeros around."""
    kernel = rearrange(weights[f"{name}.weight"], "o (i j c) -> o c 1 i j", i=3, j=3)
    return conv3d(pad(x, (1, 1, 1, 1, 0, 0)), kernel, weights[f"{name}.bias"], (1, stride, stride))


def over_time(weights: Weights, name: str, x: Tensor) -> Tensor:
    """3 frames, two of them earlier; zeros in front of the video."""
    kernel = rearrange(weights[f"{name}.weight"], "o (k c) -> o c k 1 1", k=3)
    return conv3d(pad(x, (0, 0, 0, 0, 2, 0)), kernel, weights[f"{name}.bias"])


def gather_frames(weights: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    """A strided convolution over time; the first output sees the first frame alone."""
    kernel = rearrange(weights[f"{name}.weight"], "o (k c) -> o c k 1 1", k=stride)
    return conv3d(pad(x, (0, 0, 0, 0, stride - 1, 0)), kernel, weights[f"{name}.bias"], (stride, 1, 1))


def spread_frames(weights: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    """Each frame becomes ``stride``, but the first becomes one."""
    kernel = rearrange(weights[f"{name}.weight"], "o c -> o c 1 1 1")
    frames = rearrange(conv3d(x, kernel, weights[f"{name}.bias"]), "b (k c) t h w -> b c (t k) h w", k=stride)
    return frames[:, :, stride - 1 :]
