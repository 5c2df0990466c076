"""What an evaluation of a VAE finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soracli.metrics.codebook import CodebookUse
from soracli.metrics.latent_health import LatentHealth
from soracli.pipelines.vae_scores import Floor, Scores


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """Figures on one set of clips.

    Attributes:
        name: ``world``, or what the manifest is called.
        num_clips: Held-out clips that the figures are means over.
        num_masked: How many of them have masks of objects.
        num_still: How many stand still somewhere, so that flicker can be seen.
        num_training_clips: Clips that the linear code was fitted on.
        vae: The VAE's figures.
        linear_code: The linear code's.
        floor: What a perfect copy would have where that is not the end of the scale.
        latents: Of the VAE.
        linear_latents: Of the linear code.
        codebook: How a quantised VAE uses its codes, None for others.
        protocol: What was measured on what, for people.
    """

    name: str
    num_clips: int
    num_masked: int
    num_still: int
    num_training_clips: int
    vae: Scores
    linear_code: Scores
    floor: Floor
    latents: LatentHealth
    linear_latents: LatentHealth
    codebook: CodebookUse | None
    protocol: str


@dataclass(frozen=True, kw_only=True)
class VaeReport:
    """What ``evaluate_vae`` found; ``dataclasses.asdict`` of it is plain JSON values.

    Attributes:
        model: What was evaluated.
        vae_hash: Hash of its weights.
        channels: Numbers per latent position, of both codes.
        compression: Frames, rows and columns of pixels per latent position, of both codes.
        ratio: Numbers of a long video for each number of its latents.
        seed: Decides scenes, backgrounds and training clips.
        sets: The world and the manifests, as far as they were asked for.
        picture: The side-by-side picture, "" without one.
        missing: Figures that could not be measured here, and why.
        protocol: How figures are computed and averaged, for people.
        latents_protocol: The same for those of latents.
    """

    model: str
    vae_hash: str
    channels: int
    compression: tuple[int, int, int]
    ratio: float
    seed: int
    sets: tuple[SetReport, ...]
    picture: str
    missing: Mapping[str, str]
    protocol: str
    latents_protocol: str
