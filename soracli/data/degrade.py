"""Frames made worse in the ways that generated and compressed videos are: blur, noise, colour shifts, blocks.

Axes: T frames, 3 colours, H, W; values in [0, 1]. Everything is drawn from one generator, on the CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

_BLOCK = 8


def degrade_frames(
    frames: Tensor, generator: Generator, *, blur: float, noise: float, colour_shift: float, blocks: float, faint: float
) -> Tensor:
    """Make one clip worse, each clip in its own way and about one in eight hardly at all.

    Args:
        frames: ``(T, 3, H, W)`` in [0, 1]; sides are multiples of 8.
        generator: Decides what is done.
        blur: Largest standard deviation of the blur, pixels.
        noise: Largest standard deviation of noise.
        colour_shift: Largest change of gain of a channel, of contrast and of brightness.
        blocks: Coarsest rounding of the waves in blocks of 8x8.
        faint: Largest strength of detail that is wiped out, as codecs and autoencoders do with faint textures.

    Returns:
        Frames of the same shape, in [0, 1].
    """
    chance = torch.rand(17, generator=generator).tolist()
    if chance[0] < 0.12:
        return frames
    if chance[1] < 0.3:
        frames = down_and_up(frames, 2)
    if chance[2] < 0.6:
        frames = gaussian_blur(frames, max(0.05, chance[3] * blur))
    if chance[12] < 0.4:
        frames = without_faint_detail(frames, 1 + 3 * chance[13], chance[14] * faint)
    gain = 1 + colour_shift * (2 * torch.rand(3, generator=generator) - 1)
    contrast, brightness = 1 + colour_shift * (2 * chance[4] - 1), colour_shift * (2 * chance[5] - 1)
    frames = ((frames * gain[:, None, None] - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)
    if chance[6] < 0.5:
        frames = frames + chance[8] * noise * torch.randn(frames.shape, generator=generator)
    if chance[7] < 0.6:
        # Errors of a decoder are patches some pixels wide, not grains.
        patches = torch.randn(len(frames), 3, frames.shape[2] // 4, frames.shape[3] // 4, generator=generator)
        frames = frames + chance[9] * noise * functional.interpolate(patches, frames.shape[2:], mode="bilinear")
    if chance[10] < 0.5:
        # The grid of blocks lies anywhere, so that nothing is learnt from where it is.
        down, across = int(_BLOCK * chance[15]), int(_BLOCK * chance[16])
        moved = round_blocks(frames.roll((down, across), (2, 3)), max(1e-3, chance[11] * blocks))
        frames = moved.roll((-down, -across), (2, 3))
    return frames.clamp(0, 1)


def down_and_up(frames: Tensor, factor: int) -> Tensor:
    """Average squares of ``factor`` pixels and stretch them again."""
    small = functional.avg_pool2d(frames, factor)
    return functional.interpolate(small, frames.shape[2:], mode="bilinear", align_corners=False)


def gaussian_blur(frames: Tensor, deviation: float) -> Tensor:
    """Blur with a Gaussian of ``deviation`` pixels."""
    reach = max(1, math.ceil(2.5 * deviation))
    place = torch.arange(-reach, reach + 1, dtype=frames.dtype)
    kernel = torch.exp(-0.5 * (place / deviation).square())
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    padded = functional.pad(frames, (reach, reach, reach, reach), mode="replicate")
    across = functional.conv2d(padded, kernel[:, :, None, :], groups=3)
    return functional.conv2d(across, kernel[:, :, :, None], groups=3)


def without_faint_detail(frames: Tensor, deviation: float, strength: float) -> Tensor:
    """Take up to ``strength`` off what stands out of a blur of ``deviation`` pixels: faint detail goes, edges stay."""
    smooth = gaussian_blur(frames, deviation)
    return smooth + functional.softshrink(frames - smooth, strength)


def round_blocks(frames: Tensor, step: float) -> Tensor:
    """Round the cosine waves of blocks of 8x8 pixels to multiples of ``step``, finer for slow waves.

    Args:
        frames: ``(T, 3, H, W)``.
        step: Rounding of the fastest waves; the mean of a block is rounded to a tenth of it.
    """
    place, wave = torch.arange(_BLOCK) + 0.5, torch.arange(_BLOCK)
    basis = torch.cos(math.pi / _BLOCK * wave[:, None] * place[None]) * math.sqrt(2 / _BLOCK)
    basis[0] /= math.sqrt(2)
    steps = step * (0.1 + 0.9 * (wave[:, None] + wave[None]) / (2 * (_BLOCK - 1))) * _BLOCK / 2
    count, colours, height, width = frames.shape
    blocks = frames.reshape(count, colours, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).transpose(3, 4)
    waves = (basis @ blocks @ basis.T / steps).round() * steps
    return (basis.T @ waves @ basis).transpose(3, 4).reshape(frames.shape)
