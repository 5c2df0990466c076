"""The recipes: which sections each command's TOML file has. Torch-free."""

from __future__ import annotations

from typing import Literal

from soracli.data.config import FramesConfig, VAELossConfig
from soracli.models.config import VAEConfig
from soracli.recipe.section import Section
from soracli.training.config import LoopConfig, OptimiserConfig


class VaeTrainRecipe(Section):
    """A training of the video VAE."""

    kind: Literal["vae.train"] = "vae.train"
    vae: VAEConfig = VAEConfig()
    frames: FramesConfig = FramesConfig()
    loss: VAELossConfig = VAELossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    loop: LoopConfig = LoopConfig()


RECIPES: dict[str, type[Section]] = {
    "vae.train": VaeTrainRecipe,
}
"""Recipe classes by the ``kind`` that a file states."""
