"""``sora vae eval``: how well a VAE keeps held-out clips, beside the best linear code of equal compression.

Both codes get the same clips and the same number of numbers per latent position, and both are judged as a viewer would
see them: clamped and rounded to 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.errors import NumericsError, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.image_read import Frames
from soracli.data.image_write import write_contact_sheet
from soracli.metrics.linear_code import LinearCode, fit_linear_code
from soracli.metrics.pixel import psnr, ssim
from soracli.models.store import load_vae
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.sample_clips import ClipSource, SampleClip, excerpt_for, manifest_source, world_source
from soracli.training.device import choose_device

_SHOWN_CLIPS = 3
"""Clips of each set in the picture."""
_ERROR_GAIN = 4


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over clips.

    Attributes:
        psnr: dB, whole frames.
        ssim: Of luma, whole frames.
        psnr_objects: dB inside the masks of objects; None when no clip has a mask.
        ssim_objects: Likewise.
    """

    psnr: float
    ssim: float
    psnr_objects: float | None
    ssim_objects: float | None


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """Figures on one set of clips.

    Attributes:
        name: ``world`` or ``clips``.
        num_clips: Held-out clips that the figures are means over.
        num_masked: How many of them have masks of objects.
        num_training_clips: Clips that the linear code was fitted on.
        vae: The VAE's figures.
        linear_code: The linear code's.
        protocol: What was measured on what, for people.
    """

    name: str
    num_clips: int
    num_masked: int
    num_training_clips: int
    vae: Scores
    linear_code: Scores
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
        sets: The world and the manifest, as far as they were asked for.
        picture: The side-by-side picture, "" without one.
        protocol: How figures are computed and averaged, for people.
    """

    model: str
    vae_hash: str
    channels: int
    compression: tuple[int, int, int]
    ratio: float
    seed: int
    sets: tuple[SetReport, ...]
    picture: str
    protocol: str


@dataclass
class _Tally:
    """Figures of single clips, until they are averaged."""

    whole: list[tuple[float, float]] = field(default_factory=list)
    inside: list[tuple[float, float]] = field(default_factory=list)

    def add(self, decoded: Tensor, clip: SampleClip) -> None:
        ours, theirs = as_floats(decoded), as_floats(clip.frames)
        self.whole.append((float(psnr(ours, theirs)), float(ssim(ours, theirs))))
        if clip.mask is None:
            return
        pair = (float(psnr(ours, theirs, clip.mask[None])), float(ssim(ours, theirs, clip.mask[None])))
        # An object that is never seen, or only in the margin that SSIM leaves out, has no figure.
        if all(map(math.isfinite, pair)):
            self.inside.append(pair)

    def scores(self) -> Scores:
        psnr_mean, ssim_mean = (sum(values) / len(values) for values in zip(*self.whole, strict=True))
        inside = [sum(values) / len(values) for values in zip(*self.inside, strict=True)] or [None, None]
        return Scores(psnr=psnr_mean, ssim=ssim_mean, psnr_objects=inside[0], ssim_objects=inside[1])


def evaluate_vae(
    model: Path,
    *,
    clips: Path | None = None,
    world: int = 0,
    seed: int = 0,
    device: str = "auto",
    picture: Path | None = None,
    reporter: Reporter | None = None,
) -> VaeReport:
    """Measure PSNR and SSIM of a VAE and of the linear code of equal compression, whole and inside objects.

    Args:
        model: A VAE's folder, a model folder or a finished run.
        clips: A manifest; all clips of its split ``validation`` are judged, the linear code learns from ``train``.
        world: How many scenes of the built-in world with held-out combinations are judged; 0 leaves the world out.
        seed: Decides scenes, backgrounds and training clips of the linear code.
        device: As ``--device``; the VAE computes there.
        picture: A .png to write: originals, both decoded, and the VAE's error, of a few clips.
        reporter: Who is told of progress.

    Raises:
        UsageError: If nothing is asked for, or the picture is no .png.
        DataError: If the manifest lacks a split, or a clip cannot be read.
        ArtifactError: If there is no whole VAE.
        NumericsError: If the VAE gives NaN or infinity.
    """
    reporter = reporter or SilentReporter()
    if clips is None and world < 1:
        raise UsageError("nothing to evaluate on: give --clips MANIFEST, or --world N with N from 1 on")
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"the picture is a .png, got {picture.name!r}; try {picture.stem}.png")
    place = choose_device(device)
    vae, spec = load_vae(model, place)
    excerpt = excerpt_for(spec)
    sources = [world_source(world, seed, excerpt)] if world else []
    sources += [manifest_source(clips, seed, excerpt)] if clips is not None else []
    sets, rows = [], []
    for source in sources:
        report, shown = _judge(vae, spec, source, place, reporter)
        sets.append(report)
        rows += shown
    if picture is not None:
        write_contact_sheet(picture, rows)
    time, height, width = spec.compression
    return VaeReport(
        model=str(model),
        vae_hash=spec.vae_hash,
        channels=spec.channels,
        compression=spec.compression,
        ratio=3 * time * height * width / spec.channels,
        seed=seed,
        sets=tuple(sets),
        picture="" if picture is None else str(picture),
        protocol=(
            "latents are the encoder's means; decoded frames are rounded to 8 bits; PSNR in dB over all pixels and "
            "colours of a clip, SSIM (Wang 2004) the mean map of luma over its frames; figures are means over clips; "
            "objects: the same inside their masks; linear: principal components of patches, "
            f"{spec.channels} numbers per {time}x{height}x{width} (the first frame's apart), as the VAE has"
        ),
    )


@torch.inference_mode()
def decode_again(vae: VideoCodec, frames: Tensor, device: torch.device) -> Tensor:
    """Frames after encoding (the mean, without noise) and decoding.

    Args:
        vae: On ``device``.
        frames: ``(T, H, W, 3)`` uint8.
        device: Where to compute.

    Returns:
        As ``frames``.

    Raises:
        NumericsError: If the result is not finite.
    """
    decoded = vae.decode(vae.encode(as_floats(frames).to(device))[0])[0].cpu()
    if not bool(decoded.isfinite().all()):
        raise NumericsError("the VAE decodes to NaN or infinity; its weights are unusable")
    return as_bytes(decoded)


def as_floats(frames: Tensor) -> Tensor:
    """``(T, H, W, 3)`` uint8 to ``(1, 3, T, H, W)`` in [-1, 1]."""
    return frames.permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def as_bytes(video: Tensor) -> Tensor:
    """``(1, 3, T, H, W)``, clamped to [-1, 1], to ``(T, H, W, 3)`` uint8."""
    return ((video[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)


def _judge(
    vae: VideoCodec, spec: LatentSpec, source: ClipSource, device: torch.device, reporter: Reporter
) -> tuple[SetReport, list[tuple[str, Frames]]]:
    """Figures on one set, and rows of the picture."""
    with reporter.task(f"fit linear code ({source.name})", source.num_training_clips, "clip") as task:

        def training() -> Iterator[Tensor]:
            for clip in source.training():
                yield as_floats(clip.frames)[0]
                task.advance()

        code = fit_linear_code(training(), spec.compression, spec.channels)
    ours, linear = _Tally(), _Tally()
    rows: list[tuple[str, Frames]] = []
    with reporter.task(f"vae eval ({source.name})", source.num_clips, "clip") as task:
        for clip in source.held_out():
            decoded, plain = decode_again(vae, clip.frames, device), _decode_linear(code, clip.frames)
            ours.add(decoded, clip)
            linear.add(plain, clip)
            task.advance(1, psnr=ours.whole[-1][0])
            if len(ours.whole) <= _SHOWN_CLIPS:
                rows += _rows(f"{source.name}, {clip.name}", clip.frames, decoded, plain, ours, linear)
    report = SetReport(
        name=source.name,
        num_clips=len(ours.whole),
        num_masked=len(ours.inside),
        num_training_clips=source.num_training_clips,
        vae=ours.scores(),
        linear_code=linear.scores(),
        protocol=source.protocol,
    )
    return report, rows


def _decode_linear(code: LinearCode, frames: Tensor) -> Tensor:
    return as_bytes(code.decode(code.encode(as_floats(frames))))


def _rows(
    name: str, frames: Tensor, decoded: Tensor, plain: Tensor, ours: _Tally, linear: _Tally
) -> list[tuple[str, Frames]]:
    error = ((decoded.int() - frames.int()).abs() * _ERROR_GAIN).clamp(max=255).to(torch.uint8)
    return [
        (f"{name}: original", frames.numpy()),
        (f"VAE, {ours.whole[-1][0]:.1f} dB", decoded.numpy()),
        (f"error of the VAE, {_ERROR_GAIN} times", error.numpy()),
        (f"linear code, {linear.whole[-1][0]:.1f} dB", plain.numpy()),
    ]
