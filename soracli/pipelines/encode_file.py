"""``sora vae encode``: a video file to a file of latents, at its own size, rate and length, in constant memory.

What does not fill a latent is filled: the last frame is held, and the right and bottom edges are repeated. The file
says how much was added, and decoding cuts it off again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soracli.core.errors import Stopped
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.latents_file import LatentsWriter
from soracli.data.video_read import stream_frames
from soracli.models.codec import encode_stream, hold_last
from soracli.models.seams import encoding_error
from soracli.pipelines.plan_encode import EncodePlan, plan_encode
from soracli.pipelines.plan_tiles import Tile, tiles_text
from soracli.training.device import set_threads
from soracli.training.signals import signal_name, stop_on_signals


def encode_file(
    video: Path,
    *,
    model: Path,
    out: Path,
    chunk_frames: int = 16,
    tile: Tile = "auto",
    tile_overlap: int | None = None,
    dtype: str = "float32",
    background: tuple[int, int, int] = (255, 255, 255),
    overwrite: bool = False,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Encode the pictures of a video of any length and size; sound is not kept.

    Args:
        video: A video, animation or picture; of a variable rate it is read at its usual one.
        model: A VAE's folder, a model folder or a finished run.
        out: The file of latents; see ``soracli.data.latents_record``.
        chunk_frames: Frames that are computed at once, rounded down to whole latents: memory against speed. Other
            numbers give the same latents up to the order of float sums; the file keeps the number.
        tile: How large frames are cut; see ``soracli.pipelines.plan_tiles``.
        tile_overlap: Pixels that tiles overlap by; None takes as many as the VAE sees, which is exact.
        dtype: Number type of the stored latents, ``float32`` or ``float16``; they are computed in the VAE's own.
        background: RGB colour under transparent parts.
        overwrite: Replace the file if it exists.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``.

    Raises:
        Stopped: After a stop on request; nothing is kept.
        NumericsError: If the VAE gives numbers that are not finite; what was at ``out`` stays.
        SoraError: For anything else a user can put right.
    """
    reporter = reporter or SilentReporter()
    plan = plan_encode(
        video,
        model=model,
        out=out,
        chunk_frames=chunk_frames,
        tile=tile,
        tile_overlap=tile_overlap,
        dtype=dtype,
        background=background,
        overwrite=overwrite,
        device=device,
    )
    if plan.info.variable:
        reporter.note(f"{video.name} has a variable frame rate; it is read at {plan.info.fps:g} frames a second")
    total, spec = plan.record.num_frames, plan.spec
    with (
        stop_on_signals() as flag,
        LatentsWriter(out, plan.record, overwrite=overwrite) as writer,
        reporter.task("encode", total, "frames") as task,
    ):
        set_threads(0)
        done = 0
        for latents in encode_stream(
            plan.vae,
            spec,
            hold_last(_told_frames(plan, reporter), spec),
            plan.device,
            block_latents=plan.block_latents,
            tiling=plan.tiling,
        ):
            writer.write(latents)
            before, done = done, min(total, spec.video_frames(writer.num_latents))
            task.advance(done - before)
            if flag and done < total:
                raise Stopped(
                    f"{signal_name(flag.level)}: {done} of {total} frames were encoded and nothing is kept; "
                    "run the same command again"
                )
    return out


def _told_frames(plan: EncodePlan, reporter: Reporter) -> Iterator[Tensor]:
    """All frames in chunks; before the first, what tiles cost is told if there are any."""
    chunks = _frames(plan)
    if plan.tiling is None:
        return chunks
    reporter.note(f"encoding in {tiles_text(plan.tiling, plan.record.shape[2:], plan.spec.compression[1])}")
    first = next(chunks)
    if not plan.tiling.is_exact:
        error = encoding_error(
            plan.vae, plan.spec, first, plan.device, block_latents=plan.block_latents, tiling=plan.tiling
        )
        reporter.note(
            f"where tiles meet in the first frames, latents (of deviation 1) differ from those of whole frames by "
            f"{error.rms:.2g} rms, {error.largest:.2g} at most"
        )
    return chain([first], chunks)


def _frames(plan: EncodePlan) -> Iterator[Tensor]:
    """uint8 ``(t, H, W, 3)`` with the right and bottom edges repeated up to whole latents."""
    _, rows, columns = plan.record.padding
    for chunk in stream_frames(
        plan.info.path,
        num_frames=plan.info.num_frames,
        fps=plan.info.fps,
        background=plan.background,
        chunk_frames=plan.block_latents * plan.spec.compression[0],
    ):
        yield torch.from_numpy(np.pad(chunk, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge"))
