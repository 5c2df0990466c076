"""``sora vae eval``: how well a VAE keeps held-out clips, and how good its latents are for diffusion.

Beside it stands the best linear code of equal compression: both get the same clips and the same number of numbers per
latent position, and both are judged as a viewer would see them, clamped and rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.errors import NumericsError, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.image_read import Frames
from soracli.data.image_write import write_contact_sheet
from soracli.metrics.latent_health import health_protocol, latent_health
from soracli.metrics.linear_code import LinearCode, fit_linear_code
from soracli.metrics.pixel import WINDOW
from soracli.models.codec import to_frames, to_pixels
from soracli.models.store import load_vae
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.clip_sources import ClipSource, TrainingClips, manifest_sources, world_source
from soracli.pipelines.codebook_use import codebook_report
from soracli.pipelines.sample_clips import SampleClip, excerpt_for
from soracli.pipelines.vae_report import SetReport, VaeReport
from soracli.pipelines.vae_scores import Instruments, Originals, Tally, find_instruments, scores_protocol, set_scores
from soracli.training.device import choose_device

_SHOWN_CLIPS = 3
"""Clips of each set in the picture."""
_SHOWN_HEIGHT = 128
"""Pixels of a frame in the picture, at least."""
_ERROR_GAIN = 4


def evaluate_vae(
    model: Path,
    *,
    clips: Sequence[Path] = (),
    fit: Path | None = None,
    world: int = 0,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    device: str = "auto",
    picture: Path | None = None,
    reporter: Reporter | None = None,
) -> VaeReport:
    """Measure what a VAE and the linear code of equal compression keep of clips, and what their latents are like.

    Args:
        model: A VAE's folder, a model folder or a finished run.
        clips: Manifests; all clips of their split ``validation`` are judged.
        fit: Whose clips of the split ``train`` the linear code learns for the manifests; None takes each one's own, and
            for one without any those of the first that has some.
        world: How many scenes of the built-in world with held-out combinations are judged; 0 leaves the world out.
        size: Height and width of the excerpts; None is as near to 128x128 as the compression allows.
        seed: Decides scenes, backgrounds and training clips of the linear code.
        device: As ``--device``; networks compute there.
        picture: A .png to write: originals, both decoded, and the VAE's error, of a few clips of each set.
        reporter: Who is told of progress.

    Raises:
        UsageError: If nothing is asked for, the size fits not, or the picture is no .png.
        DataError: If a manifest lacks a split, or a clip cannot be read.
        ArtifactError: If there is no whole VAE.
        NumericsError: If the VAE gives NaN or infinity.
    """
    reporter = reporter or SilentReporter()
    if not clips and world < 1:
        raise UsageError("nothing to evaluate on: give --clips MANIFEST, or --world N with N from 1 on")
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"the picture is a .png, got {picture.name!r}; try {picture.stem}.png")
    place = choose_device(device)
    vae, spec = load_vae(model, place)
    excerpt = excerpt_for(spec, size)
    if min(excerpt.height, excerpt.width) < WINDOW:
        raise UsageError(
            f"clips of {excerpt.width}x{excerpt.height} are too small for SSIM: take {WINDOW} pixels or more"
        )
    sources = [world_source(world, seed, excerpt)] if world else []
    sources += manifest_sources(clips, fit, seed, excerpt) if clips else []
    instruments = find_instruments(place, min(excerpt.height, excerpt.width))
    codes: dict[TrainingClips, LinearCode] = {}
    sets, rows = [], []
    for source in sources:
        if source.training not in codes:
            codes[source.training] = _fit(spec, source, reporter)
        report, shown = _judge(vae, spec, codes[source.training], source, instruments, place, reporter)
        sets.append(report)
        rows += shown
    if picture is not None:
        write_contact_sheet(picture, rows, cell_height=max(_SHOWN_HEIGHT, excerpt.height))
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
        missing=instruments.missing,
        protocol=(
            f"latents are the encoder's means; {scores_protocol()}; linear: principal components of patches, "
            f"{spec.channels} numbers per {time}x{height}x{width} (the first frame's apart), as the VAE has"
        ),
        latents_protocol=health_protocol(),
    )


@torch.inference_mode()
def encode_and_decode(vae: VideoCodec, frames: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A clip's latents, without noise, and what comes out of them.

    Args:
        vae: On ``device``.
        frames: ``(T, H, W, 3)`` uint8.
        device: Where to compute.

    Returns:
        Means and variances ``(C, T', H', W')`` of the raw latents on the CPU, and frames as ``frames``.

    Raises:
        NumericsError: If a mean or the result is not finite.
    """
    mean, log_variance, _ = vae.encode(to_frames(frames).to(device))
    decoded = vae.decode(mean)[0]
    if not bool(mean.isfinite().all() and decoded.isfinite().all()):
        raise NumericsError("the VAE gives NaN or infinity; its weights are unusable")
    return mean[0].cpu(), log_variance[0].exp().cpu(), to_pixels(decoded)


def _fit(spec: LatentSpec, source: ClipSource, reporter: Reporter) -> LinearCode:
    with reporter.task(f"fit linear code ({source.name})", source.training.num_clips, "clip") as task:

        def training() -> Iterator[Tensor]:
            for clip in source.training.read():
                yield to_frames(clip.frames)[0]
                task.advance()

        return fit_linear_code(training(), spec.compression, spec.channels)


def _judge(
    vae: VideoCodec,
    spec: LatentSpec,
    code: LinearCode,
    source: ClipSource,
    instruments: Instruments,
    device: torch.device,
    reporter: Reporter,
) -> tuple[SetReport, list[tuple[str, Frames]]]:
    """Figures on one set, and rows of the picture."""
    originals = Originals(instruments)
    ours, linear = Tally(originals), Tally(originals)
    latents, variances, linear_latents = [], [], []
    rows: list[tuple[str, Frames]] = []
    with reporter.task(f"vae eval ({source.name})", source.num_clips, "clip") as task:
        for clip in source.held_out():
            mean, variance, decoded = encode_and_decode(vae, clip.frames, device)
            codes = code.encode(to_frames(clip.frames))
            plain = to_pixels(code.decode(codes))
            originals.add(clip.frames)
            ours.add(decoded, clip)
            linear.add(plain, clip)
            latents.append(mean)
            variances.append(variance)
            linear_latents.append(codes[0])
            task.advance(1, psnr=ours.whole[-1][0])
            if len(latents) <= _SHOWN_CLIPS:
                rows += _rows(f"{source.name}, {clip.name}", clip, decoded, plain, ours, linear)
    floor, (vae_scores, linear_scores) = set_scores(originals, [ours, linear])
    report = SetReport(
        name=source.name,
        num_clips=len(latents),
        num_masked=len(ours.inside),
        num_still=len(originals.flicker),
        num_training_clips=source.training.num_clips,
        vae=vae_scores,
        linear_code=linear_scores,
        floor=floor,
        latents=latent_health(latents, variances, spec.mean, spec.std),
        linear_latents=latent_health(linear_latents),
        codebook=codebook_report(vae, (clip.frames for clip in source.held_out())),
        protocol=f"{source.protocol}; linear code fitted on {source.training.protocol}",
    )
    return report, rows


def _rows(
    name: str, clip: SampleClip, decoded: Tensor, plain: Tensor, ours: Tally, linear: Tally
) -> list[tuple[str, Frames]]:
    error = ((decoded.int() - clip.frames.int()).abs() * _ERROR_GAIN).clamp(max=255).to(torch.uint8)
    return [
        (f"{name}: original", clip.frames.numpy()),
        (f"VAE, {ours.whole[-1][0]:.1f} dB", decoded.numpy()),
        (f"error of the VAE, {_ERROR_GAIN} times", error.numpy()),
        (f"linear code, {linear.whole[-1][0]:.1f} dB", plain.numpy()),
    ]
