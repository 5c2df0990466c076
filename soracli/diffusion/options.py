"""How a video is sampled, torch-free: what a person may choose and what a model recommends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SamplerName = Literal["euler", "heun"]


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How a video is sampled.

    Attributes:
        num_steps: Steps from noise to data of each block.
        guidance_scale: 1 is none.
        shift: How far times lean towards noise.
        sampler: By name.
        sink: Latent frames remembered from the beginning.
        window: Latent frames remembered from the end.
        first_block: Latent frames of the first block.
        block: Latent frames of every later block.
        context_noise: Level of noise put on a finished block before it is remembered.
    """

    num_steps: int = 12
    guidance_scale: float = 4.0
    shift: float = 1.5
    sampler: SamplerName = "euler"
    sink: int = 0
    window: int = 8
    first_block: int = 5
    block: int = 4
    context_noise: float = 0.05
