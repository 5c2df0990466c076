"""The linear code that a VAE begins with: principal components of patches of what it will be trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from soracli.data.frame_pool import FramePool
from soracli.metrics.linear_code import PatchBasis, fit_linear_code
from soracli.models.layers.linear_code import LinearDecoder, LinearEncoder
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.training.seeding import generator_for

_SAMPLES = 256
_SMALLEST = 1e-3
"""Of what the code's numbers are divided by: where patches are all alike a component may not vary at all."""


@torch.no_grad()
def set_linear_code(vae: VideoVAE, pool: FramePool, recipe: VaeTrainRecipe) -> None:
    """Fit a linear code to samples of the longest shape, scale its numbers to deviation 1, and write it into ``vae``.

    Args:
        vae: With ``linear_code`` in its configuration.
        pool: What is trained on; samples are decided by the recipe's seed alone, so every rank finds the same code.
        recipe: Of the training.
    """
    shape = max(recipe.frames.shapes, key=lambda shape: (shape.num_frames, shape.crop))
    clips = [
        pool.sample(generator_for(recipe.loop.seed, "linear code", index), shape.num_frames, shape.crop)
        for index in range(_SAMPLES)
    ]
    code = fit_linear_code(clips, vae.config.compression, vae.config.latent_channels)
    numbers = [code.encode(clip[None])[0] for clip in clips]  # (C, T', H', W') each
    encoder, decoder = vae.encoder.linear, vae.decoder.linear
    assert encoder is not None and decoder is not None
    first = torch.cat([each[:, :1].flatten(1) for each in numbers], 1)
    later = torch.cat([each[:, 1:].flatten(1) for each in numbers], 1)
    for name, basis, values in (("first", code.first, first), ("later", code.later, later)):
        _set(encoder, decoder, name, basis, values.std(1).clamp(min=_SMALLEST) if values.shape[1] > 1 else None)


def _set(encoder: LinearEncoder, decoder: LinearDecoder, name: str, basis: PatchBasis, scale: Tensor | None) -> None:
    """One of the two matrices each way; ``scale`` ``(C,)`` is the deviation of the code's numbers."""
    by = torch.ones(len(basis.directions)) if scale is None else scale
    down = basis.directions / by[:, None]  # (C, D)
    getattr(encoder, f"{name}_weight").copy_(down)
    getattr(encoder, f"{name}_bias").copy_(-down @ basis.mean)
    getattr(decoder, f"{name}_weight").copy_((basis.directions * by[:, None]).T)
    getattr(decoder, f"{name}_bias").copy_(basis.mean)
