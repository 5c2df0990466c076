"""The video VAEs of diffusers, tiny and with random weights, in folders as diffusers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "wan": (
        "AutoencoderKLWan",
        {
            "base_dim": 4,
            "z_dim": 4,
            "dim_mult": [1, 2, 2, 2],
            "num_res_blocks": 1,
            "latents_mean": [0.5, -0.25, 0.0, 1.0],
            "latents_std": [1.5, 0.5, 2.0, 1.0],
        },
    ),
    "wan 2.2": (
        "AutoencoderKLWan",
        {
            "base_dim": 4,
            "decoder_base_dim": 8,
            "z_dim": 6,
            "dim_mult": [1, 2, 2, 2],
            "num_res_blocks": 1,
            "temperal_downsample": [False, True, True],
            "latents_mean": [0.5, -0.25, 0.0, 1.0, 0.1, 0.2],
            "latents_std": [1.5, 0.5, 2.0, 1.0, 3.0, 0.7],
            "is_residual": True,
            "in_channels": 12,
            "out_channels": 12,
            "patch_size": 2,
            "scale_factor_spatial": 16,
        },
    ),
    "ltx": (
        "AutoencoderKLLTXVideo",
        {
            "latent_channels": 4,
            "block_out_channels": [8, 8, 8, 8],
            "decoder_block_out_channels": [8, 8, 8, 8],
            "layers_per_block": [1, 1, 1, 1, 1],
            "decoder_layers_per_block": [1, 1, 1, 1, 1],
            "scaling_factor": 0.8,
        },
    ),
    "ltx 0.9.1": (
        "AutoencoderKLLTXVideo",
        {
            "latent_channels": 4,
            "block_out_channels": [8, 8, 8, 8],
            "decoder_block_out_channels": [8, 16, 32],
            "layers_per_block": [1, 1, 1, 1, 1],
            "decoder_layers_per_block": [1, 1, 1, 1],
            "decoder_spatio_temporal_scaling": [True, True, True],
            "decoder_inject_noise": [True, True, True, False],
            "upsample_residual": [True, True, True],
            "upsample_factor": [2, 2, 2],
            "timestep_conditioning": True,
        },
    ),
    "cogvideox": (
        "AutoencoderKLCogVideoX",
        {
            "block_out_channels": [4, 8, 8, 8],
            "latent_channels": 4,
            "layers_per_block": 1,
            "norm_num_groups": 2,
            "scaling_factor": 0.7,
        },
    ),
    "hunyuan": (
        "AutoencoderKLHunyuanVideo",
        {"block_out_channels": [4, 8, 8, 8], "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2},
    ),
}
"""Class and sizes by a name of ours."""


def published_module(name: str) -> Any:
    """A VAE of diffusers with every weight away from its start."""
    import diffusers

    class_name, config = CONFIGS[name]
    torch.manual_seed(0)
    module = getattr(diffusers, class_name)(**config).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter += 0.05 * torch.randn(parameter.shape)
    if name.startswith("ltx"):
        module.latents_mean.copy_(torch.tensor([0.5, -0.25, 0.0, 1.0]))
        module.latents_std.copy_(torch.tensor([1.5, 0.5, 2.0, 1.0]))
    return module


def write_published(folder: Path, name: str = "wan") -> Any:
    """A folder as diffusers writes it; returns the module."""
    module = published_module(name)
    module.save_pretrained(folder)
    return module
