"""Published video VAEs, built by ``diffusers`` and filled with their weights, and what their latents are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.latent_spec import LatentSpec
from soracli.models.part_hash import hash_part
from soracli.models.published_codecs import CogVideoXCodec, WanCodec, WholeVideoCodec
from soracli.models.published_files import PublishedFiles

PublishedCodec = WanCodec | CogVideoXCodec | WholeVideoCodec

_CODECS: Mapping[str, type[PublishedCodec]] = {
    "AutoencoderKLWan": WanCodec,
    "AutoencoderKLLTXVideo": WholeVideoCodec,
    "AutoencoderKLCogVideoX": CogVideoXCodec,
    "AutoencoderKLHunyuanVideo": WholeVideoCodec,
}


def load_published(files: PublishedFiles) -> tuple[PublishedCodec, LatentSpec]:
    """Build a published VAE with float32 weights, on the CPU.

    Raises:
        MachineError: If ``diffusers`` is not installed, or too old to know the class.
        ArtifactError: If its files are damaged or do not fit together.
    """
    try:
        stored = load_file(files.weights)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{files.weights} is damaged: {str(error).splitlines()[0]}") from error
    vae_hash = hash_part("vae", files.config, stored)
    if files.hash not in (None, vae_hash):
        raise ArtifactError(
            f"{files.weights.parent} is damaged: its weights are not those that config.json was written for"
        )
    # Copies lie where torch would put them: sums over memory that is aligned otherwise differ in the last bit.
    weights = {
        name: value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
        for name, value in stored.items()
    }
    builder = _diffusers_class(files.class_name)
    try:
        with torch.device("meta"):
            module = builder.from_config(dict(files.config))
        module.load_state_dict(weights, assign=True)
        return _CODECS[files.class_name](module), _spec(module, vae_hash)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = str(error).splitlines()[-1].strip()
        raise ArtifactError(f"{files.weights} does not fit its configuration: {said}") from error


def _diffusers_class(name: str) -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise MachineError(f"{name} needs a package: pip install 'sora-trainer[diffusers]'") from error
    try:
        return getattr(diffusers, name)
    except (AttributeError, ImportError, RuntimeError) as error:
        raise MachineError(
            f"diffusers {diffusers.__version__} has no {name}: pip install --upgrade diffusers"
        ) from error


def _spec(module: Any, vae_hash: str) -> LatentSpec:
    """What the pipelines of ``diffusers`` do to raw latents before a transformer sees them, as mean and deviation."""
    config, name = module.config, type(module).__name__
    if name == "AutoencoderKLWan":
        # Mean and deviation as they are: pipeline_wan_i2v.py
        channels, side, time = config.z_dim, config.scale_factor_spatial, config.scale_factor_temporal
        mean, std = config.latents_mean, config.latents_std
    elif name == "AutoencoderKLLTXVideo":
        # After mean and deviation times scaling_factor: pipeline_ltx_image2video.py
        channels, side = config.latent_channels, module.spatial_compression_ratio
        time = module.temporal_compression_ratio
        mean, std = module.latents_mean.tolist(), (module.latents_std / config.scaling_factor).tolist()
    else:
        # Times scaling_factor alone: pipeline_cogvideox_video2video.py, pipeline_hunyuan_video_image2video.py.
        # invert_scale_latents of CogVideoX 1.5 is about the picture that its own transformer is given.
        channels, time = config.latent_channels, config.temporal_compression_ratio
        side = config.get("spatial_compression_ratio") or 2 ** (len(config.block_out_channels) - 1)
        mean, std = [0.0] * channels, [1 / config.scaling_factor] * channels
    return LatentSpec(
        channels=channels,
        compression=(int(time), int(side), int(side)),
        mean=tuple(mean),
        std=tuple(std),
        vae_hash=vae_hash,
    )
