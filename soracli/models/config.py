"""What the models are made of, torch-free: one frozen section a model."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from soracli.recipe.section import Section


class VAEConfig(Section):
    """The video VAE: widths and depths by level, from pixels inward."""

    latent_channels: int = Field(16, ge=1, le=256)
    """Channels of the latents."""
    patch_size: int = Field(4, ge=1, le=16)
    """Side of the square of pixels that one position of the first level holds."""
    widths: tuple[int, ...] = (64, 128, 192)
    """Channels at each level; every further level halves rows and columns."""
    temporal_strides: tuple[int, ...] = (2, 2)
    """Frames folded into one on the way to each further level, 1 or 2."""
    encoder_blocks: tuple[int, ...] = (1, 1, 2)
    """Residual blocks at each level of the encoder."""
    decoder_blocks: tuple[int, ...] = (2, 2, 3)
    """Residual blocks at each level of the decoder, in the same order as ``widths``."""

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        levels = len(self.widths)
        for name, values, expected in (
            ("temporal_strides", self.temporal_strides, levels - 1),
            ("encoder_blocks", self.encoder_blocks, levels),
            ("decoder_blocks", self.decoder_blocks, levels),
        ):
            if len(values) != expected:
                raise ValueError(f"{name} must have {expected} numbers for {levels} widths, got {len(values)}")
        if any(stride not in (1, 2) for stride in self.temporal_strides):
            raise ValueError(f"temporal_strides must be 1 or 2, got {self.temporal_strides}")
        return self

    @property
    def compression(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels per latent."""
        side = self.patch_size * 2 ** (len(self.widths) - 1)
        time = 1
        for stride in self.temporal_strides:
            time *= stride
        return (time, side, side)
