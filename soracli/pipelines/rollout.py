"""A video of any length, block after block, in constant memory.

For each block: noise, a few steps along the guided velocity with the past held as keys and values, one more pass to
remember the finished block, and out it goes to be decoded. Two segments run side by side: with the prompt, and with
none (or a negative one) for guidance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.diffusion.flow import time_grid
from soracli.diffusion.order import forward_order
from soracli.diffusion.samplers import SAMPLERS, SamplerName, guided
from soracli.models.dit import Past
from soracli.models.generator import Generator
from soracli.models.past import Memory, moved, remember, shifted, window_start
from soracli.models.tokens import Piece, Sample, pack_tokens, unpatchify
from soracli.training.seeding import generator_for


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How a video is sampled.

    Attributes:
        num_steps: Steps from noise to data of each block.
        guidance_scale: 1 is none.
        shift: How far times lean towards noise.
        sampler: By name.
        sink: Latent frames remembered from the beginning.
        window: Latent frames remembered from the end.
        first_block: Latent frames of the first block.
        block: Latent frames of every later block.
        context_noise: Level of noise put on a finished block before it is remembered.
    """

    num_steps: int = 12
    guidance_scale: float = 4.0
    shift: float = 1.5
    sampler: SamplerName = "euler"
    sink: int = 0
    window: int = 8
    first_block: int = 5
    block: int = 4
    context_noise: float = 0.05


@torch.inference_mode()
def roll_out(
    model: Generator,
    prompt: str,
    *,
    num_latents: int,
    latent_size: tuple[int, int],
    fps: float,
    seed: int,
    options: SamplingOptions,
    negative_prompt: str = "",
) -> Iterator[Tensor]:
    """Latents of a video, block by block.

    Args:
        model: What makes it.
        prompt: What to show.
        num_latents: Latent frames in all.
        latent_size: Rows and columns of latents.
        fps: Frames a second.
        seed: Decides the noise; equal calls give equal latents.
        options: How to sample.
        negative_prompt: What to steer away from.

    Yields:
        Normalised latents ``(C, t, H, W)`` on the model's device.
    """
    spec = model.spec
    guides = options.guidance_scale != 1
    texts = [model.prompt_tokens(prompt)] + ([model.prompt_tokens(negative_prompt)] if guides else [])
    memory = _read_texts(model, texts, latent_size)
    times = torch.tensor(spec.latent_times(num_latents, fps))
    order = forward_order(num_latents, options.first_block, options.block)
    grid = time_grid(options.num_steps, options.shift)
    for number, frames in enumerate(order.blocks):
        index = list(frames)
        start = window_start(memory, options.sink)
        block = _Block(
            past=shifted(memory, start),
            seconds=times[index] - start,
            one_frame=torch.tensor([frame == 0 for frame in frames]),
            num_segments=len(texts),
            latent_size=latent_size,
        )
        shape = (spec.channels, len(index), *latent_size)
        noise = torch.randn(shape, generator=generator_for(seed, "block", number)).to(model.device)

        def velocity(x: Tensor, t: float, block: _Block = block) -> Tensor:
            found = _evaluate(model, block, x, t)[0]
            return guided(found[0], found[1], options.guidance_scale) if guides else found[0]

        latents = SAMPLERS[options.sampler](velocity, noise, grid)
        yield latents
        if number + 1 < len(order.blocks):
            level = options.context_noise
            extra = torch.randn(shape, generator=generator_for(seed, "context", number)).to(model.device)
            made = _evaluate(model, block, (1 - level) * latents + level * extra, level)[1]
            memory = remember(memory, moved(made, start), times[index], options.sink, options.window)


@dataclass(frozen=True)
class _Block:
    """What stays the same over all evaluations of one block."""

    past: Past
    seconds: Tensor
    one_frame: Tensor
    num_segments: int
    latent_size: tuple[int, int]


def _evaluate(model: Generator, block: _Block, latents: Tensor, t: float) -> tuple[Tensor, Past]:
    """Velocities ``(S, C, t, H, W)`` of the segments, which share the latents, and their keys and values."""
    patch, count = model.dit.config.patch_size, len(block.seconds)
    piece = Piece(latents.cpu(), block.seconds, block.one_frame, torch.full((count,), t), block=1, clean=False)
    sample = Sample(torch.zeros(0, dtype=torch.long), (piece,))
    tokens = pack_tokens([sample] * block.num_segments, patch, model.spec.compression[1:])
    no_states = torch.zeros(0, model.text.config.hidden_size, device=model.device)
    patches, made = model.dit(tokens.to(model.device), no_states, block.past)
    by_segment = patches.unflatten(0, (block.num_segments, count, -1))
    return torch.stack([unpatchify(part, block.latent_size, patch) for part in by_segment]), made


def _read_texts(model: Generator, texts: list[Tensor], latent_size: tuple[int, int]) -> Memory:
    """Keys and values of the texts: computed once for the whole video."""
    patch = model.dit.config.patch_size
    tokens = pack_tokens([Sample(text, ()) for text in texts], patch, model.spec.compression[1:]).to(model.device)
    states = model.text(tokens.text, tokens.text_lengths)
    _, past = model.dit(tokens, states)
    return Memory(
        past=past,
        text_tokens=tokens.text_lengths,
        frame_tokens=latent_size[0] // patch[1] * (latent_size[1] // patch[2]),
        seconds=torch.zeros(0),
    )
