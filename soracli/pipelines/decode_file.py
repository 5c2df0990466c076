"""``sora vae decode``: a file of latents to a video of the size, rate and length it was made of, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from soracli.core.errors import ArtifactError, NumericsError, Stopped
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.image_read import Frames
from soracli.data.latents_file import stream_latents
from soracli.data.video_write import VideoWriter
from soracli.models.codec import decode_stream
from soracli.models.seams import decoding_error
from soracli.pipelines.plan_decode import DecodePlan, plan_decode
from soracli.pipelines.plan_tiles import Tile, tiles_text
from soracli.training.device import set_threads
from soracli.training.signals import signal_name, stop_on_signals


def decode_file(
    latents: Path,
    *,
    model: Path,
    out: Path,
    chunk_frames: int = 16,
    tile: Tile = "auto",
    tile_overlap: int | None = None,
    overwrite: bool = False,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Decode what ``encode_file`` wrote: exactly the frames, rows and columns that the video had.

    Args:
        latents: The file of latents.
        model: The VAE that made them: its folder, a model folder or a finished run.
        out: A .mp4, .mkv, .mov, .webm, .gif or .webp; a .png for a single frame. It keeps the settings below.
        chunk_frames: Frames that are computed at once, rounded down to whole latents: memory against speed. Other
            numbers give the same frames up to the order of float sums.
        tile: How large frames are cut; see ``soracli.pipelines.plan_tiles``.
        tile_overlap: Pixels that tiles overlap by; None takes as many as the VAE sees, which is exact.
        overwrite: Replace the video if it exists.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``.

    Raises:
        Stopped: After a stop on request; what was decoded stays as ``NAME.part.mp4``, which plays.
        ArtifactError: If the file is damaged, or the VAE is not the one that made it; what was at ``out`` stays.
        NumericsError: If numbers are not finite; what was at ``out`` stays.
        SoraError: For anything else a user can put right.
    """
    reporter = reporter or SilentReporter()
    plan = plan_decode(
        latents,
        model=model,
        out=out,
        chunk_frames=chunk_frames,
        tile=tile,
        tile_overlap=tile_overlap,
        overwrite=overwrite,
        device=device,
    )
    set_threads(0)
    if plan.tiling is not None:
        _tell_tiles(plan, reporter)
    total = plan.record.num_frames
    writer = VideoWriter(out, fps=float(plan.record.fps), metadata=plan.about(), overwrite=overwrite)
    try:
        with stop_on_signals() as flag, writer, reporter.task("decode", total, "frames") as task:
            for frames in _frames(plan):
                writer.write(frames)
                task.advance(len(frames))
                if flag and writer.num_frames < total:
                    raise Stopped(
                        f"{signal_name(flag.level)}: {writer.num_frames} of {total} frames are in {writer.part}, "
                        "which plays; run the same command again"
                    )
    except (ArtifactError, NumericsError):
        writer.part.unlink(missing_ok=True)  # it may hold what damaged latents decode to
        raise
    return out


def _frames(plan: DecodePlan) -> Iterator[Frames]:
    """uint8 ``(t, H, W, 3)`` without what was added to fill the latents."""
    left = plan.record.num_frames
    for pixels in decode_stream(
        plan.vae,
        plan.spec,
        stream_latents(plan.latents, plan.record, plan.block_latents),
        plan.device,
        block_latents=plan.block_latents,
        tiling=plan.tiling,
    ):
        yield pixels[:left, : plan.record.height, : plan.record.width].numpy()
        left -= len(pixels)


def _tell_tiles(plan: DecodePlan, reporter: Reporter) -> None:
    assert plan.tiling is not None
    reporter.note(f"decoding in {tiles_text(plan.tiling, plan.record.shape[2:], plan.spec.compression[1])}")
    if plan.tiling.is_exact:
        return
    first: torch.Tensor = next(stream_latents(plan.latents, plan.record, plan.block_latents))
    error = decoding_error(
        plan.vae, plan.spec, first, plan.device, block_latents=plan.block_latents, tiling=plan.tiling
    )
    reporter.note(
        f"where tiles meet in the first frames, pixels (of 255 levels) differ from those of whole frames by "
        f"{error.rms:.2g} rms, {error.largest:.2g} at most"
    )
