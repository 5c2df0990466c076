"""A video made anew from what it is: by an instruction, or from its own frames under noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from soracli.diffusion.options import SamplingOptions
from soracli.models.codec import decode_frames, encode_stream, hold_last, to_pixels
from soracli.models.generator import Generator
from soracli.pipelines.blocks import Prompt, gap_blocks
from soracli.pipelines.own_frames import blended, checked, single_frames, to_size
from soracli.pipelines.rollout import Source, roll_out


@torch.inference_mode()
def edit_frames(
    model: Generator,
    frames: Iterable[Tensor],
    *,
    stride: int,
    fps: float,
    own_size: tuple[int, int],
    prompt: Prompt,
    seed: int,
    options: SamplingOptions,
    negative_prompt: str = "",
    strength: float | None = None,
) -> Iterator[Tensor]:
    """Edit a video of any length; its latents are held in memory, a few kilobytes a second.

    Source: SDEdit (Meng et al. 2021, arXiv:2108.01073) with a strength; InstructPix2Pix (Brooks et al. 2022,
    arXiv:2211.09800) without. Differs from the sources: both go on over blocks of a video.

    Args:
        model: What makes it; without a strength one with ``dit.edits``.
        frames: ``(t, h, w, 3)`` uint8 at the model's rate and size, any number in each.
        stride: Frames of the video's own rate to one of the model's.
        fps: The model's rate.
        own_size: Height and width of what comes out.
        prompt: The instruction; with a strength what the result shows.
        seed: Decides the noise.
        options: How to sample.
        negative_prompt: What to steer away from.
        strength: Noise level from which the video is made anew: 0 leaves what the VAE gives back, 1 makes another.

    Yields:
        uint8 ``(t, H, W, 3)``: ``stride - 1`` blends between any two frames of the model's rate, to the end of the last
        latent.

    Raises:
        NumericsError: If the model gives numbers that are not finite.
    """
    spec, device = model.spec, model.device
    latents = torch.cat(list(encode_stream(model.vae, spec, hold_last(frames, spec), device)), 1)
    count = latents.shape[1]
    blocks = gap_blocks(spec, prompt, options, fps=fps, num_latents=count)
    source = None
    if strength is None:
        source = Source(latents, torch.tensor(spec.latent_times(count, fps)), torch.arange(count) == 0)
    else:
        parts = latents.split([len(block.seconds) for block in blocks], 1)
        blocks = [replace(block, origin=part, strength=strength) for block, part in zip(blocks, parts, strict=True)]
    made = roll_out(
        model,
        blocks,
        latent_size=(latents.shape[2], latents.shape[3]),
        fps=fps,
        seed=seed,
        options=options,
        negative_prompt=negative_prompt,
        source=source,
    )
    decoded = single_frames(decode_frames(model.vae, spec, map(checked, made), device))
    for frame in blended((to_size(frame, own_size) for frame in decoded), stride, skips_first=False):
        yield to_pixels(frame[None, :, None])
