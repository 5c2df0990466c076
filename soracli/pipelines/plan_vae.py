"""``sora vae train --dry-run``: what a training would do, checked and counted without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from soracli.data.frame_pool import FramePool
from soracli.models.config import with_quantiser
from soracli.models.quantised_vae import QuantisedVAE, build_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.pipelines.train_vae import check_frames, load_network, load_start
from soracli.training.device import choose_device


@dataclass(frozen=True, kw_only=True)
class VaePlan:
    """What a training of a VAE would be.

    Attributes:
        encoder_parameters: Numbers that the encoder learns.
        decoder_parameters: Numbers that the decoder learns.
        channels: Numbers per latent position.
        num_codes: Codes that a latent position can have, one token each; 0 for continuous latents.
        compression: Frames, rows and columns of pixels per latent position.
        ratio: Numbers of a long video for each number of its latents.
        steps: Steps in all.
        batch_sizes: Samples in a step, of each shape.
        device: Where it would compute.
        clips: The manifest, "" for none.
        out: The run folder.
        resumes: Whether that folder holds a run already, which would go on.
    """

    encoder_parameters: int
    decoder_parameters: int
    channels: int
    num_codes: int
    compression: tuple[int, int, int]
    ratio: float
    steps: int
    batch_sizes: tuple[int, ...]
    device: str
    clips: str
    out: str
    resumes: bool


def plan_vae(
    recipe: VaeTrainRecipe, *, clips: Path | None, out: Path, init: Path | None = None, device: str = "auto"
) -> VaePlan:
    """Check what ``train_vae`` checks before it begins, and count.

    Args:
        recipe: What to train.
        clips: The manifest, if any.
        out: The run folder; it is not touched.
        init: The VAE to begin from, if any.
        device: As ``--device``.

    Raises:
        SoraError: For anything that would stop the training at its start.
    """
    check_frames(recipe)
    load_start(init, recipe)
    load_network(recipe)
    FramePool(recipe.frames, clips)
    place = choose_device(device)
    with torch.device("meta"):
        vae = build_vae(with_quantiser(recipe.vae, recipe.quantiser))
    encoder, decoder = _count_halves(vae)
    time, height, width = recipe.vae.compression
    return VaePlan(
        encoder_parameters=encoder,
        decoder_parameters=decoder,
        channels=vae.num_channels,
        num_codes=vae.num_codes if isinstance(vae, QuantisedVAE) else 0,
        compression=recipe.vae.compression,
        ratio=3 * time * height * width / vae.num_channels,
        steps=recipe.loop.steps,
        batch_sizes=tuple(shape.batch_size for shape in recipe.frames.shapes),
        device=str(place),
        clips="" if clips is None else str(clips),
        out=str(out),
        resumes=(out / "run.json").exists(),
    )


def _count_halves(vae: VideoVAE) -> tuple[int, int]:
    """Parameters before and after the latents."""
    encoder, decoder = _count(vae.encoder), _count(vae.decoder)
    if isinstance(vae, QuantisedVAE) and vae.projection is not None:
        return encoder + _count(vae.projection.head), decoder + _count(vae.projection.stem)
    return encoder, decoder


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
