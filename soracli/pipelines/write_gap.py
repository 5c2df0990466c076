"""``sora extend``, ``connect``, ``loop``, ``redo``, ``edit``: the user's frames, and what is made beside or of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

import soracli
from soracli.core.errors import Stopped
from soracli.core.files import part_name
from soracli.core.progress import Preview, Reporter, SilentReporter
from soracli.data.image_read import Frames
from soracli.data.video_read import stream_frames
from soracli.data.video_write import VideoWriter
from soracli.models.generator import Generator, load_generator, use_dtype
from soracli.pipelines.blocks import always
from soracli.pipelines.edit_frames import edit_frames
from soracli.pipelines.fill_gap import FADE_SECONDS, Given, fill_gap
from soracli.pipelines.fit_video import given_frames
from soracli.pipelines.lay_out import Stretch
from soracli.pipelines.plan_gap import GapPlan
from soracli.pipelines.scenes import Scene, shown_at
from soracli.training.device import choose_device, choose_dtype, set_threads
from soracli.training.signals import signal_name, stop_on_signals


def write_gap(
    plan: GapPlan,
    *,
    device: str = "auto",
    dtype: str = "auto",
    reporter: Reporter | None = None,
    preview: Preview | None = None,
) -> Path:
    """Make what was planned.

    Args:
        plan: Of ``plan_gap``.
        device: As ``--device``.
        dtype: As ``--dtype``.
        reporter: Who is told.
        preview: Who is shown frames as they are written.

    Returns:
        The file.

    Raises:
        Stopped: After a stop on request; what was written stays as ``NAME.part.mp4``, which plays.
        SoraError: For anything a user can put right.
    """
    reporter = reporter or SilentReporter()
    for note in plan.notes:
        reporter.note(note)
    place = choose_device(device)
    number_type = choose_dtype(dtype, place)
    total = plan.num_frames + sum(part.num_frames for part in (plan.first, plan.last) if part)
    about = {
        **plan.record,
        "dtype": str(number_type).removeprefix("torch."),
        "device": place.type,
        "sora": soracli.__version__,
    }
    with stop_on_signals() as flag:
        set_threads(0)
        model = load_generator(plan.model, place)
        use_dtype(model, number_type)
        with (
            VideoWriter(
                plan.out, fps=plan.fps, metadata=about, overwrite=plan.overwrite, lossless=plan.lossless
            ) as writer,
            reporter.task(plan.verb, total, "frames") as task,
        ):
            for frames in gap_frames(model, plan):
                writer.write(frames)
                task.advance(len(frames))
                if preview is not None:
                    preview.show(writer.part, frames, plan.fps, writer.num_frames)
                if flag and writer.num_frames < total:
                    raise Stopped(
                        f"{signal_name(flag.level)}: {writer.num_frames} of {total} frames are in "
                        f"{part_name(plan.out)}, which plays; the seed is {plan.seed}"
                    )
    return plan.out


def gap_frames(model: Generator, plan: GapPlan, fade_seconds: float = FADE_SECONDS) -> Iterator[Frames]:
    """All frames that go to the encoder, the user's own among them, in order.

    Args:
        model: What makes the others.
        plan: Of ``plan_gap``.
        fade_seconds: How long a residual is seen; 0 carries none.
    """
    if plan.edited is not None:
        yield from _edited_frames(model, plan, plan.edited)
        return
    if plan.first is not None:
        yield from read_stretch(plan.first, plan)
    limit = plan.options.block if plan.before and plan.after else plan.options.window
    before = None if plan.before is None else read_given(plan.before, plan, model, limit, at_end=True)
    after = None if plan.after is None else read_given(plan.after, plan, model, limit, at_end=False)
    made = fill_gap(
        model,
        before=before,
        after=after,
        num_frames=plan.num_frames,
        stride=plan.fitted.stride,
        fps=plan.fitted.fps,
        prompt=shown_at([Scene(0.0, plan.prompt), *plan.later]),
        seed=plan.seed,
        options=plan.options,
        negative_prompt=plan.negative_prompt,
        fade_seconds=fade_seconds,
    )
    for frames in made:
        yield frames.numpy()
    if plan.last is not None:
        yield from read_stretch(plan.last, plan)


def _edited_frames(model: Generator, plan: GapPlan, edited: Stretch) -> Iterator[Frames]:
    left = edited.num_frames
    made = edit_frames(
        model,
        _seen_frames(edited, plan),
        stride=plan.fitted.stride,
        fps=plan.fitted.fps,
        own_size=plan.size,
        prompt=always(plan.prompt),
        seed=plan.seed,
        options=plan.options,
        negative_prompt=plan.negative_prompt,
        strength=plan.strength,
    )
    for frames in made:
        if left:
            yield frames[:left].numpy()
        left -= min(left, len(frames))


def _seen_frames(stretch: Stretch, plan: GapPlan) -> Iterator[Tensor]:
    """All that a model sees of a stretch, to its last frame, at the model's rate and size."""
    number = 0
    for chunk in read_stretch(stretch, plan):
        for frame in torch.from_numpy(chunk):
            if number % plan.fitted.stride == 0 or number + 1 == stretch.num_frames:
                yield _scaled(frame, plan.fitted.size)[None]
            number += 1


def read_stretch(
    stretch: Stretch, plan: GapPlan, start: int | None = None, stop: int | None = None
) -> Iterator[Frames]:
    """Frames of a stretch, or of a part of it, at the rate and size of what is written."""
    first, end = stretch.start if start is None else start, stretch.stop if stop is None else stop
    info = stretch.info
    yield from stream_frames(
        info.path,
        start=first / plan.fps,
        num_frames=end - first,
        fps=plan.fps,
        size=None if (info.height, info.width) == plan.size else plan.size,
        allow_damaged=bool(info.damage),
    )


def read_given(stretch: Stretch, plan: GapPlan, model: Generator, most_latents: int, *, at_end: bool) -> Given:
    """What a model is shown of a stretch beside a gap: its end, or its beginning.

    Args:
        stretch: Of the user's video.
        plan: Says the model's rate and size.
        model: Says how many frames make a latent.
        most_latents: Latents that are shown at most.
        at_end: Whether the gap follows it.
    """
    stride = plan.fitted.stride
    count = given_frames(stretch.num_frames, stride, model.spec.compression[0], most_latents)
    span = (count - 1) * stride + 1
    first = stretch.stop - span if at_end else stretch.start
    seen: list[Tensor] = []
    edge, number = torch.empty(0), 0
    for chunk in read_stretch(stretch, plan, first, first + span):
        for frame in torch.from_numpy(chunk):
            if number % stride == 0:
                seen.append(_scaled(frame, plan.fitted.size))
            if number == (span - 1 if at_end else 0):
                edge = frame.clone()
            number += 1
    return Given(torch.stack(seen), edge)


def _scaled(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """A frame ``(H, W, 3)`` uint8 at another size, its aspect not kept."""
    if tuple(frame.shape[:2]) == size:
        return frame.clone()
    levels = functional.interpolate(frame.permute(2, 0, 1)[None].float(), size, mode="bicubic", antialias=True)
    return levels[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
