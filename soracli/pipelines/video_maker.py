"""A model as those who measure it see it: a prompt and a seed go in, a video at its own settings comes out.

So do the verbs: frames go in too, and out comes what ``sora extend``, ``connect``, ``loop`` and ``edit`` make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soracli.core.errors import NumericsError
from soracli.core.latent_spec import LatentSpec
from soracli.data.image_read import Frames
from soracli.diffusion.options import SamplingOptions
from soracli.models.adapter import put_adapter
from soracli.models.codec import decode_stream, to_frames, to_pixels
from soracli.models.generator import Generator, load_generator, use_dtype
from soracli.models.video_codec import VideoCodec
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.edit_frames import edit_frames
from soracli.pipelines.fill_gap import Given, fill_gap
from soracli.pipelines.fit_video import given_frames
from soracli.pipelines.plan_gap import GapPlan
from soracli.pipelines.plan_generation import GenerationPlan, plan_generation
from soracli.pipelines.rollout import roll_out
from soracli.pipelines.write_gap import gap_frames
from soracli.training.device import choose_dtype, set_threads


@dataclass(frozen=True)
class Memory:
    """What a model remembers of what came before, and in which steps it goes on.

    Attributes:
        window: Latent frames of the end.
        block: Latent frames that are made together.
        frames_per_latent: Frames that a latent frame holds, but the first of a video.
    """

    window: int
    block: int
    frames_per_latent: int


@dataclass(frozen=True)
class VideoVerbs:
    """What a model makes of given frames.

    Attributes:
        go_on: The frames after given ones ``(T, H, W, 3)`` uint8 of the maker's rate and size, of a prompt, a seed and
            their number: what ``sora extend`` makes of them.
        fill_gap: The frames that ``sora extend``, ``connect`` and ``loop`` write, of their plan and of the seconds that
            a residual is seen; 0 carries none.
        edit: Edited frames, as many, of frames, an instruction and a seed; None for a model that follows none.
        memory: What is remembered meanwhile.
    """

    go_on: Callable[[Tensor, str, int, int], Tensor]
    fill_gap: Callable[[GapPlan, float], Iterator[Frames]]
    edit: Callable[[Tensor, str, int], Tensor] | None
    memory: Memory


@dataclass(frozen=True)
class VideoMaker:
    """What makes videos, and how.

    Attributes:
        make: Frames ``(T, H, W, 3)`` uint8 of a prompt, a seed and seconds: what ``sora generate`` makes of them.
        decode_again: What the model's own VAE leaves of frames, as many: the best that a generator can do with it.
        fps: Frames a second.
        height: H.
        width: W.
        settings: All that ``sora generate`` is set to, as JSON values.
        make_sliding: As ``make``, but with a plain sliding window of so many latent frames: nothing of the beginning is
            remembered, and no noise put on what is.
        verbs: What it makes of given frames.
    """

    make: Callable[[str, int, float], Tensor]
    decode_again: Callable[[Tensor], Tensor]
    fps: float
    height: int
    width: int
    settings: Mapping[str, Any]
    make_sliding: Callable[[str, int, float, int], Tensor]
    verbs: VideoVerbs

    def num_frames(self, seconds: float) -> int:
        """Frames of a video this long; at least one."""
        return max(1, round(seconds * self.fps))


def open_model(
    model: Path,
    device: torch.device,
    adapter: Path | None = None,
    size: tuple[int, int] | None = None,
    num_steps: int | None = None,
) -> VideoMaker:
    """A model at the settings of ``sora generate`` without options.

    Args:
        model: A model folder or a finished run.
        device: Where to compute.
        adapter: An adapter trained on it, if any.
        size: Height and width, as ``--size`` would say; the model's own if None.
        num_steps: As ``--steps`` would say; the model's own if None.

    Raises:
        UsageError: If the size does not fit the model, or it was not taught so many steps; names the nearest.
        ArtifactError: If there is no whole model, or the adapter is one of another.

    ``make`` raises NumericsError when the model's numbers are not finite.
    """
    plan = plan_generation("a video", model=model, seed=0, adapter=adapter, size=size, num_steps=num_steps)
    dtype = choose_dtype("auto", device)
    set_threads(0)
    generator = load_generator(model, device)
    if adapter is not None:
        put_adapter(generator, model, adapter)
    use_dtype(generator, dtype)
    settings = {
        name: value
        for name, value in plan.jobs[0].record.items()
        if name not in ("prompt", "negative_prompt", "seed", "num_frames")
    }
    options = plan.options

    def make_sliding(prompt: str, seed: int, seconds: float, window: int) -> Tensor:
        plain = replace(options, sink=0, context_noise=0.0, window=window)
        return _make(generator, plan, plain, prompt, seed, seconds)

    return VideoMaker(
        make=lambda prompt, seed, seconds: _make(generator, plan, options, prompt, seed, seconds),
        decode_again=lambda frames: through_vae(generator.vae, generator.spec, frames),
        fps=plan.fps,
        height=plan.size[0],
        width=plan.size[1],
        settings={**settings, "dtype": str(dtype).removeprefix("torch."), "device": device.type},
        make_sliding=make_sliding,
        verbs=VideoVerbs(
            go_on=lambda frames, prompt, seed, count: _go_on(generator, plan, frames, prompt, seed, count),
            fill_gap=lambda gap, fade_seconds: gap_frames(generator, gap, fade_seconds),
            edit=partial(_edit, generator, plan) if generator.dit.config.edits else None,
            memory=Memory(options.window, options.block, generator.spec.compression[0]),
        ),
    )


@torch.inference_mode()
def through_vae(vae: VideoCodec, spec: LatentSpec, frames: Tensor) -> Tensor:
    """Frames of any number after encoding (the mean, without noise) and decoding, as many.

    Args:
        vae: Computes where its weights are.
        spec: Of its latents.
        frames: ``(T, H, W, 3)`` uint8; the last one is held to fill the last latent.
    """
    weight = next(vae.parameters())
    missing = spec.video_frames(spec.latent_frames_covering(len(frames))) - len(frames)
    padded = torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)])
    decoded = vae.decode(vae.encode(to_frames(padded).to(weight))[0])[0]
    return to_pixels(decoded)[: len(frames)]


def _make(
    model: Generator, plan: GenerationPlan, options: SamplingOptions, prompt: str, seed: int, seconds: float
) -> Tensor:
    num_frames = model.spec.num_frames_for(seconds, plan.fps)

    def checked() -> Iterator[Tensor]:
        num_latents = model.spec.latent_frames_covering(num_frames)
        for latents in roll_out(
            model,
            gap_blocks(model.spec, always(prompt), options, fps=plan.fps, num_latents=num_latents),
            latent_size=model.spec.latent_size(*plan.size),
            fps=plan.fps,
            seed=seed,
            options=options,
        ):
            if not bool(torch.isfinite(latents).all()):
                raise NumericsError(f"the model gave numbers that are not finite for '{prompt}', seed {seed}")
            yield latents

    return torch.cat(list(decode_stream(model.vae, model.spec, checked(), model.device)))[:num_frames]


def _go_on(model: Generator, plan: GenerationPlan, frames: Tensor, prompt: str, seed: int, count: int) -> Tensor:
    seen = given_frames(len(frames), 1, model.spec.compression[0], plan.options.window)
    made = fill_gap(
        model,
        before=Given(frames[-seen:], frames[-1]),
        after=None,
        num_frames=count,
        stride=1,
        fps=plan.fps,
        prompt=always(prompt),
        seed=seed,
        options=plan.options,
    )
    return torch.cat(list(made))


def _edit(model: Generator, plan: GenerationPlan, frames: Tensor, instruction: str, seed: int) -> Tensor:
    made = edit_frames(
        model,
        [frames],
        stride=1,
        fps=plan.fps,
        own_size=plan.size,
        prompt=always(instruction),
        seed=seed,
        options=plan.options,
    )
    return torch.cat(list(made))[: len(frames)]
