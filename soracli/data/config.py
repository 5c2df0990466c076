"""Recipe sections of data, torch-free."""

from __future__ import annotations

from pydantic import Field

from soracli.recipe.section import Section


class FramesConfig(Section):
    """Which frames a VAE learns from."""

    world_share: float = Field(1.0, ge=0, le=1)
    """Share of samples drawn from the built-in world; the rest come from the clips of the manifest."""
    world_scenes: int = Field(2000, ge=1)
    """How many different scenes of the world are shown, again and again with other crops."""
    world_seed: int = Field(1, ge=0)
    """Which world; held-out figures are made on others."""
    height: int = Field(128, ge=8)
    """Rows that a world scene is drawn with, and that clips are scaled to (their shorter side)."""
    width: int = Field(128, ge=8)
    """Columns, likewise."""
    fps: float = Field(12, gt=0, le=120)
    """Frames a second."""
    num_frames: int = Field(17, ge=1)
    """Frames of a video sample; one more than a multiple of the VAE's temporal compression."""
    image_share: float = Field(0.25, ge=0, le=1)
    """Share of steps that show single frames instead of videos."""
    images_first: int = Field(0, ge=0)
    """Steps at the start that show single frames only: they teach colours and shapes cheaply."""
    crop: int = Field(64, ge=8)
    """Side of the square that is cut out of every sample, pixels; no multiple of the compression is refused."""
    crop_candidates: int = Field(3, ge=1)
    """Places tried for each crop; the one with the most contrast is taken, so flat sky is not most of the lesson."""
    batch_size: int = Field(8, ge=1)
    """Video samples in a step over all ranks; an image step takes as many images as the videos have pixels' worth."""
    memory_gib: float = Field(4.0, gt=0)
    """Decoded clips that are kept in memory, at most."""


class VAELossConfig(Section):
    """What a reconstruction pays for."""

    l1: float = Field(1.0, ge=0)
    """Weight of the absolute error."""
    gradient: float = Field(0.5, ge=0)
    """Weight of the absolute error of differences between neighbouring pixels: keeps edges sharp."""
    kl: float = Field(3e-4, ge=0)
    """Weight of the Kullback-Leibler divergence to a standard normal, a mean over latent numbers."""
    emphasis: float = Field(4.0, ge=0)
    """How much more a pixel counts that differs from its frame's mean colour: 1 + emphasis * distance."""
