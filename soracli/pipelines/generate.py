"""``sora generate``: prompts in, videos of any length out, in constant memory.

Latents come block by block, are decoded as they come, and go to the encoder of the file; nothing grows with the length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import soracli
from soracli.core.errors import Stopped
from soracli.core.files import part_name
from soracli.core.progress import Preview, Reporter, SilentReporter, Task
from soracli.data.image_read import Frames
from soracli.data.image_write import write_contact_sheet
from soracli.data.video_grid import stream_grid
from soracli.data.video_read import read_frames
from soracli.data.video_write import VideoWriter
from soracli.models.adapter import put_adapter
from soracli.models.codec import decode_stream
from soracli.models.generator import Generator, load_generator, use_dtype
from soracli.models.tokenizer import PairedTokenizer, encode_text, learned_tokenizer
from soracli.pipelines.blocks import Prompt, gap_blocks
from soracli.pipelines.fill_gap import Given, fill_gap
from soracli.pipelines.output_names import sheet_name
from soracli.pipelines.own_frames import checked
from soracli.pipelines.plan_generation import GenerationPlan, Job, plan_generation
from soracli.pipelines.rollout import roll_out
from soracli.pipelines.scenes import Scene, shown_at
from soracli.training.device import choose_device, choose_dtype, set_threads
from soracli.training.signals import StopFlag, signal_name, stop_on_signals

_SHEET_FRAMES = 8


def generate(
    prompts: str | Sequence[str] | None,
    *,
    model: Path,
    image: Path | None = None,
    later: Sequence[Scene] = (),
    seconds: float | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    seed: int | None = None,
    count: int = 1,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_interval: tuple[float, float] | None = None,
    sampler: str | None = None,
    classical_guidance: bool = False,
    negative_prompt: str = "",
    out: Path | None = None,
    overwrite: bool = False,
    contact_sheet: bool = False,
    grid: bool = False,
    adapter: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    reporter: Reporter | None = None,
    preview: Preview | None = None,
) -> list[Path]:
    """Make videos from prompts; the same seed gives the same frames.

    Args:
        prompts: One or several; None, where a picture is set in motion, leaves to the model what follows from it.
        model: A model folder or a finished run of ``sora dit train``.
        image: A picture that each video begins with, brought to its size.
        later: What each video shows after its prompt, in the order of time.
        seconds: Length of each video, 4 by default; at least one frame is made.
        size: Height and width; None takes the model's own, or with an image its aspect and about as many pixels.
        fps: Frames a second; the model's own if None.
        seed: Of the first video of each prompt; drawn and told if None.
        count: Videos of each prompt, with seeds ``seed``, ``seed + 1`` and so on.
        num_steps: Steps of each block; the model's own if None.
        guidance_scale: 1 is none; the model's own if None.
        guidance_interval: Noise levels that are guided, above the first and up to the second; the model's own if None.
        sampler: How steps are taken: euler, heun or dpmpp_2m; the model's own if None.
        classical_guidance: Guide a distilled model by evaluations side by side, not by its input.
        negative_prompt: What to steer away from.
        out: See ``soracli.pipelines.output_names``; a ``.png`` makes pictures.
        overwrite: Replace what exists.
        contact_sheet: Put ``NAME-contact-sheet.png`` beside each video.
        grid: Also make ``NAME-grid.mp4`` of all videos side by side.
        adapter: An adapter trained on the model, or the run that trained it.
        device: As ``--device``.
        dtype: As ``--dtype``.
        reporter: Who is told.
        preview: Who is shown frames while they are made.

    Returns:
        The files, in order of prompts and seeds.

    Raises:
        Stopped: After a stop on request; what was made of a video stays as ``NAME.part.mp4``, which plays.
        SoraError: For anything a user can put right.
    """
    plan = plan_generation(
        prompts,
        model=model,
        image=image,
        later=later,
        seconds=seconds,
        size=size,
        fps=fps,
        seed=seed,
        count=count,
        num_steps=num_steps,
        guidance_scale=guidance_scale,
        guidance_interval=guidance_interval,
        sampler=sampler,
        classical_guidance=classical_guidance,
        negative_prompt=negative_prompt,
        out=out,
        overwrite=overwrite,
        contact_sheet=contact_sheet,
        grid=grid,
        adapter=adapter,
    )
    return make_videos(plan, device=device, dtype=dtype, reporter=reporter, preview=preview)


def make_videos(
    plan: GenerationPlan,
    *,
    device: str = "auto",
    dtype: str = "auto",
    reporter: Reporter | None = None,
    preview: Preview | None = None,
) -> list[Path]:
    """Make what was planned; see ``generate``."""
    reporter = reporter or SilentReporter()
    for note in plan.notes:
        reporter.note(note)
    waiting = [job for job in plan.jobs if not job.is_made]
    if len(waiting) < len(plan.jobs):
        reporter.note(f"{len(plan.jobs) - len(waiting)} of {len(plan.jobs)} are there already")
    with stop_on_signals() as flag:
        if waiting:
            _make_all(plan, waiting, flag, device=device, dtype=dtype, reporter=reporter, preview=preview)
        if plan.grid is not None and not plan.grid.is_made:
            _make_grid(plan, plan.grid.path, flag, reporter)
    return [job.path for job in plan.jobs]


def _make_all(
    plan: GenerationPlan,
    waiting: Sequence[Job],
    flag: StopFlag,
    *,
    device: str,
    dtype: str,
    reporter: Reporter,
    preview: Preview | None,
) -> None:
    place = choose_device(device)
    number_type = choose_dtype(dtype, place)
    set_threads(0)
    generator = load_generator(plan.model, place)
    if plan.adapter is not None:
        put_adapter(generator, plan.model, plan.adapter)
    use_dtype(generator, number_type)
    if not generator.vae.streams:
        reporter.note("this model's VAE decodes a video whole: nothing is written before its last latent is made")
    shown = [*(job.prompt for job in waiting), *(scene.prompt for scene in plan.later), plan.negative_prompt]
    for text in dict.fromkeys(shown):
        _tell_cut(generator, text, reporter)
    with reporter.task("generate", len(waiting) * plan.num_frames, "frames") as task:
        for number, job in enumerate(waiting):
            done = f"{number} of {len(waiting)} files are done" if len(waiting) > 1 else ""
            _make(generator, plan, job, number_type, task, _stopper(flag, job, done), preview)
            if plan.contact_sheet:
                reporter.note(f"contact sheet: {sheet_name(job.path)}")


def _make_grid(plan: GenerationPlan, path: Path, flag: StopFlag, reporter: Reporter) -> None:
    """All videos side by side, from their files."""
    about = {**plan.grid_record, "sora": soracli.__version__}
    with (
        VideoWriter(path, fps=plan.fps, metadata=about, overwrite=plan.overwrite) as writer,
        reporter.task("grid", plan.num_frames, "frames") as task,
    ):
        for frames in stream_grid([job.path for job in plan.jobs], plan.num_frames):
            writer.write(frames)
            task.advance(len(frames))
            if flag and writer.num_frames < plan.num_frames:
                raise Stopped(
                    f"{signal_name(flag.level)}: all {len(plan.jobs)} files are done; {writer.num_frames} of "
                    f"{plan.num_frames} frames of the grid are in {part_name(path)}, which plays"
                )
    reporter.note(f"grid: {path}")


def _make(
    model: Generator,
    plan: GenerationPlan,
    job: Job,
    number_type: torch.dtype,
    task: Task,
    check_stop: Callable[[int, int], None],
    preview: Preview | None,
) -> None:
    about = {
        **job.record,
        "dtype": str(number_type).removeprefix("torch."),
        "device": model.device.type,
        "sora": soracli.__version__,
    }
    shown = np.linspace(0, plan.num_frames - 1, min(_SHEET_FRAMES, plan.num_frames)).round().astype(int)
    kept: list[Frames] = []
    check_stop(0, plan.num_frames)
    with VideoWriter(job.path, fps=plan.fps, metadata=about, overwrite=plan.overwrite) as writer:
        began = time.perf_counter()
        for frames in _frames(model, plan, job):
            first = writer.num_frames
            writer.write(frames)
            if plan.contact_sheet:
                kept += [frames[index - first] for index in shown if first <= index < first + len(frames)]
            if preview is not None:
                preview.show(writer.part, frames, plan.fps, writer.num_frames)
            speed = writer.num_frames / plan.fps / (time.perf_counter() - began)
            task.advance(len(frames), speed=f"{speed:.2g} seconds of video a second")
            check_stop(writer.num_frames, plan.num_frames)
    if plan.contact_sheet:
        write_contact_sheet(sheet_name(job.path), [(job.prompt or job.path.stem, np.stack(kept))])


def _frames(model: Generator, plan: GenerationPlan, job: Job) -> Iterator[Frames]:
    """Blocks of frames uint8 ``(T, H, W, 3)``, together exactly as many as planned."""
    left = plan.num_frames
    make = _from_nothing if plan.image is None else _from_picture
    for pixels in make(model, plan, job, shown_at([Scene(0.0, job.prompt), *plan.later])):
        if left:
            yield pixels[:left].numpy()
        left -= min(left, len(pixels))


def _from_nothing(model: Generator, plan: GenerationPlan, job: Job, prompt: Prompt) -> Iterator[Tensor]:
    num_latents = model.spec.latent_frames_covering(plan.num_frames)
    blocks = roll_out(
        model,
        gap_blocks(model.spec, prompt, plan.options, fps=plan.fps, num_latents=num_latents),
        latent_size=model.spec.latent_size(*plan.size),
        fps=plan.fps,
        seed=job.seed,
        options=plan.options,
        negative_prompt=plan.negative_prompt,
    )
    yield from decode_stream(model.vae, model.spec, map(checked, blocks), model.device)


def _from_picture(model: Generator, plan: GenerationPlan, job: Job, prompt: Prompt) -> Iterator[Tensor]:
    """The picture, as what a gap goes on with, and the frames of the gap."""
    assert plan.image is not None
    picture = torch.from_numpy(read_frames(plan.image, num_frames=1, size=plan.size))
    yield picture
    if plan.num_frames > 1:
        yield from fill_gap(
            model,
            before=Given(picture, picture[0]),
            after=None,
            num_frames=plan.num_frames - 1,
            stride=1,
            fps=plan.fps,
            prompt=lambda seconds: prompt(seconds + 1 / plan.fps),
            seed=job.seed,
            options=plan.options,
            negative_prompt=plan.negative_prompt,
        )


def _stopper(flag: StopFlag, job: Job, done: str) -> Callable[[int, int], None]:
    """What leaves between two blocks when somebody asked to stop; a video whose last frame is made is finished."""

    def check(made: int, total: int) -> None:
        if not flag or made == total:
            return
        part = f"{made} of {total} frames are in {part_name(job.path)}, which plays" if made else "no frame was made"
        raise Stopped("; ".join(filter(None, [f"{signal_name(flag.level)}: {part}", done, f"the seed is {job.seed}"])))

    return check


def _tell_cut(model: Generator, text: str, reporter: Reporter) -> None:
    limit = model.text.config.max_tokens
    tokenizer = learned_tokenizer(model.tokenizer)
    ids = encode_text(tokenizer, text, limit + 1)
    if len(ids) > limit:
        end = tokenizer.decode(ids[limit - 8 : limit]).strip()
        reporter.note(f"the model reads {limit} tokens of a prompt; what follows '... {end}' is not seen")
    if isinstance(model.tokenizer, PairedTokenizer) and model.tokenizer.frozen_ids(text, limit)[1]:
        reads = model.tokenizer.frozen_limit(limit)
        reporter.note(f"the frozen text encoder reads {reads} tokens of a prompt; this one has more")
