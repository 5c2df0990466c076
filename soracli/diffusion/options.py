"""How a video is sampled, torch-free: what a person may choose and what a model recommends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SamplerName = Literal["euler", "heun", "dpmpp_2m"]
"""How steps are taken from noise to data; see ``soracli.diffusion.samplers``."""
ObjectiveName = Literal["flow", "v"]
"""What a model learns to predict; see ``soracli.diffusion.objective``."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How a video is sampled.

    Attributes:
        num_steps: Steps from noise to data of each block.
        guidance_scale: Of blocks without a past; 1 is none.
        later_guidance_scale: Of blocks that go on with what is there, which says most of what the prompt says: more
            than they need makes a minute drift. Never above ``guidance_scale``, which it is if None.
        source_guidance_scale: Of edits: how much what is edited counts; 1 is as trained, more keeps more of it.
        guidance_interval: Noise levels that are guided, above the first and up to the second.
        objective: What the model predicts.
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
    later_guidance_scale: float | None = None
    source_guidance_scale: float = 1.5
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    objective: ObjectiveName = "flow"
    shift: float = 1.5
    sampler: SamplerName = "euler"
    sink: int = 0
    window: int = 8
    first_block: int = 5
    block: int = 4
    context_noise: float = 0.05

    def guidance_of(self, has_past: bool) -> float:
        """The guidance scale of a block."""
        if has_past and self.later_guidance_scale is not None:
            return min(self.later_guidance_scale, self.guidance_scale)
        return self.guidance_scale

    def is_guided(self, t: float) -> bool:
        """Whether guidance acts at a noise level.

        Source: Kynkaanniemi et al. 2024 (arXiv:2404.07724, equation 5): the noisiest levels lose variety to it, the
        cleanest nothing. Their sigma is ``t / (1 - t)``.
        """
        low, high = self.guidance_interval
        return low < min(t, 1.0) <= high  # a shifted 1 may be a rounding above


def recommended_options(defaults: Mapping[str, Any]) -> SamplingOptions:
    """What a model recommends over ours; keys that are no options are left out."""
    known = SamplingOptions.__dataclass_fields__
    chosen = {name: value for name, value in defaults.items() if name in known}
    if "guidance_interval" in chosen:
        low, high = chosen["guidance_interval"]
        chosen["guidance_interval"] = (float(low), float(high))
    return SamplingOptions(**chosen)
