"""The frames of a gap beside a user's own, at their rate and size, such that no seam shows.

What the VAE loses of the user's frame beside the gap (all that is finer than the model's size, among others) is the
*residual*: it is carried on into the frames that are made and fades out within a second, at an end that is run into it
fades in. Between two frames of the model's rate lie blends of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from soracli.diffusion.options import SamplingOptions
from soracli.models.codec import decode_frames, encode_video, to_pixels
from soracli.models.generator import Generator
from soracli.pipelines.blocks import Prompt, gap_blocks
from soracli.pipelines.own_frames import blended, checked, signed_pixels, single_frames, to_size
from soracli.pipelines.rollout import roll_out

FADE_SECONDS = 1.0


@dataclass(frozen=True)
class Given:
    """What is there beside a gap.

    Attributes:
        frames: ``(1 + n k, h, w, 3)`` uint8, at the model's rate and size, n frames to a latent.
        edge: ``(H, W, 3)`` uint8, the one beside the gap at its own size: the last before a gap, the first after it.
    """

    frames: Tensor
    edge: Tensor


@torch.inference_mode()
def fill_gap(
    model: Generator,
    *,
    before: Given | None,
    after: Given | None,
    num_frames: int,
    stride: int,
    fps: float,
    prompt: Prompt,
    seed: int,
    options: SamplingOptions,
    negative_prompt: str = "",
    fade_seconds: float = FADE_SECONDS,
) -> Iterator[Tensor]:
    """Make the frames of a gap.

    Args:
        model: What makes them.
        before: What it goes on with.
        after: What it runs into; one of the two is there.
        num_frames: Frames of the gap at the video's own rate; with both, one of ``fit_video.bridge_frames``.
        stride: Frames of the video's own rate to one of the model's.
        fps: The model's rate.
        prompt: What is shown when, 0 at the first frame of the gap.
        seed: Decides the noise.
        options: How to sample.
        negative_prompt: What to steer away from.
        fade_seconds: How long a residual is seen; 0 carries none.

    Yields:
        uint8 ``(t, H, W, 3)``, as they are made; if the gap has only an end, after all of it was made.

    Raises:
        NumericsError: If the model gives numbers that are not finite.
    """
    spec, device = model.spec, model.device
    step = spec.compression[0]
    needed = (num_frames + 1) // stride - 1 if before and after else math.ceil(num_frames / stride)
    num_latents = math.ceil(needed / step) if before else spec.latent_frames_covering(needed)
    total = spec.video_frames(num_latents) if before is None else step * num_latents
    extra = total * stride - num_frames if before is None else 0  # made in front of the gap, and not shown
    lead = extra / (stride * fps)
    latents = [None if part is None else encode_video(model.vae, spec, part.frames, device) for part in (before, after)]
    size = (before or after).frames.shape[1:3]  # type: ignore[union-attr]
    made: Iterator[Tensor] | Sequence[Tensor] = map(
        checked,
        roll_out(
            model,
            gap_blocks(
                spec,
                lambda seconds: prompt(max(0.0, seconds - lead)),
                options,
                fps=fps,
                num_latents=num_latents,
                before=latents[0],
                after=latents[1],
            ),
            latent_size=spec.latent_size(*size),
            fps=fps,
            seed=seed,
            options=options,
            negative_prompt=negative_prompt,
        ),
    )
    if before is None:  # made from the end on, decoded from the beginning on
        made = list(made)[::-1]
    heads = [] if latents[0] is None else [latents[0].to(device)]
    decoded = single_frames(decode_frames(model.vae, spec, chain(heads, made), device))
    residual = {}
    if before is not None:
        for _ in range(len(before.frames) - 1):
            next(decoded)
        residual["before"] = signed_pixels(before.edge, device) - to_size(next(decoded), before.edge.shape[:2])
    if after is not None:
        first = next(decode_frames(model.vae, spec, [latents[1][:, :1]], device))  # type: ignore[index]
        residual["after"] = signed_pixels(after.edge, device) - to_size(first[0, :, 0].float(), after.edge.shape[:2])
    own_size = (before or after).edge.shape[:2]  # type: ignore[union-attr]
    weight = _fading(fade_seconds, fps)

    def anchors() -> Iterator[Tensor]:
        """Frames at the model's rate, from one edge to the other, at their own size."""
        if before is not None:
            yield signed_pixels(before.edge, device)
        for number, frame in enumerate(decoded):
            whole = to_size(frame, own_size)
            if before is not None:
                whole = whole + weight(number + 1) * residual["before"]
            if after is not None:
                whole = whole + weight(total - number) * residual["after"]
            yield whole
        if after is not None:
            yield signed_pixels(after.edge, device)

    frames = blended(anchors(), stride, skips_first=before is not None)
    for number, frame in enumerate(frames):
        if extra <= number < extra + num_frames:
            yield to_pixels(frame[None, :, None])


def _fading(seconds: float, fps: float) -> Callable[[int], float]:
    """How much of a residual is seen so many frames away from where it was found: half a cosine from 1 to 0."""

    def weight(distance: int) -> float:
        part = distance / (seconds * fps) if seconds else 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, part)))

    return weight
