"""What is given of a video and in which order the rest is made: the blocks of every verb.

A *gap* is a stretch of video to be made, with given latents before it, after it, on both sides, or on none. Text to
video is a gap with nothing around it; to animate an image is one with a frame before it; to extend, to extend backward,
to connect and to loop are the other three. What is given before and what follows it are one causal stretch of latents;
what is given after begins a stretch of its own, as its first latent holds one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from soracli.core.latent_spec import LatentSpec
from soracli.diffusion.options import SamplingOptions
from soracli.diffusion.order import forward_order
from soracli.pipelines.rollout import Block

Prompt = Callable[[float], str]
"""What is shown at a second of the gap, 0 where it begins; ``pipelines.scenes`` makes one of scenes."""


def always(prompt: str) -> Prompt:
    """The same prompt from beginning to end."""
    return lambda _: prompt


def gap_blocks(
    spec: LatentSpec,
    prompt: Prompt,
    options: SamplingOptions,
    *,
    fps: float,
    num_latents: int,
    before: Tensor | None = None,
    after: Tensor | None = None,
) -> list[Block]:
    """The blocks of a gap, what is given first.

    Made from its beginning to its end; only where nothing but the end is given, towards the beginning, so that what is
    made always goes on with what is there. A block within which the prompt changes is made in parts, so that what is
    shown changes with the latent nearest to its moment. The first ``sink`` latents that are read or made are pinned,
    and so is an end that is run towards.

    Args:
        spec: Of the latents.
        prompt: What is shown when.
        options: ``first_block``, ``block`` and ``sink``.
        fps: Frames a second.
        num_latents: Latent frames to make.
        before: ``(C, T, H, W)`` given latents that end where the gap begins, of a stretch of their own.
        after: ``(C, T, H, W)`` given latents that begin where it ends, likewise.
    """
    num_before = 0 if before is None else before.shape[1]
    num_after = 0 if after is None else after.shape[1]
    gap = num_before + num_latents
    # Frame 0 is the first of what is given before, or of the gap.
    end = spec.video_frames(gap) / fps
    seconds = torch.tensor(spec.latent_times(gap, fps) + spec.latent_times(num_after, fps, start=end))
    one_frame = torch.zeros(len(seconds), dtype=torch.bool)
    one_frame[[0] + [gap] * (after is not None)] = True
    # The beginning is kept for its looks, the end because all runs towards it.
    pinned = torch.arange(len(seconds)) < options.sink
    pinned[gap:] |= before is not None
    begins = spec.video_frames(num_before) / fps if num_before else 0.0

    def shown(frame: int) -> str:
        return prompt(max(0.0, float(seconds[frame]) - begins))

    def block(frames: Sequence[int], given: Tensor | None = None) -> Block:
        index = torch.tensor(frames)
        return Block(shown(frames[0]), seconds[index], one_frame[index], pinned[index], given)

    def made(parts: Iterable[Sequence[int]], *, backwards: bool = False) -> list[Block]:
        by_prompt = ([block(list(some)) for _, some in groupby(part, shown)] for part in parts)
        return [one for some in by_prompt for one in (reversed(some) if backwards else some)]

    ends = range(gap, gap + num_after)
    if before is None and after is not None:
        pinned = (torch.arange(len(seconds)) >= gap) & (torch.arange(len(seconds)) < gap + options.sink)
        towards = [range(max(0, stop - options.block), stop) for stop in range(gap, 0, -options.block)]
        return [block(ends, after), *made(towards, backwards=True)]
    if before is None:
        return made(forward_order(gap, options.first_block, options.block).blocks)
    if after is not None:  # what is given on both sides is read at once, as in training
        given = [block([*range(num_before), *ends], torch.cat([before, after], 1))]
    else:  # in the blocks it would have been made in, as training shows what went before
        earlier = forward_order(num_before, options.first_block, options.block).blocks
        given = [block(part, before[:, list(part)]) for part in earlier]
    return given + made(forward_order(gap, options.first_block, options.block, num_before).blocks)
