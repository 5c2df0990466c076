"""A video of any length, block after block, in constant memory.

For each block: noise, a few steps along the guided velocity with the past held as keys and values, one more pass to
remember the finished block, and out it goes to be decoded. Two segments run side by side: with the prompt, and with
none (or a negative one) for guidance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from soracli.diffusion.objective import noised, predicted_data, predicted_velocity, sampling_times, seen_on_path
from soracli.diffusion.options import SamplingOptions
from soracli.diffusion.order import forward_order
from soracli.diffusion.samplers import SAMPLERS, Velocity, guided
from soracli.models.dit import Context, Past
from soracli.models.generator import Generator
from soracli.models.past import Memory, moved, remember, shifted, window_start
from soracli.models.tokens import Piece, Sample, Tokens, pack_tokens, patchify, unpatchify
from soracli.training.seeding import generator_for


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
    guides = any(options.guidance_of(has_past) != 1 for has_past in (False, True))
    texts = [model.prompt_tokens(prompt)] + ([model.prompt_tokens(negative_prompt)] if guides else [])
    memory = _read_texts(model, texts, latent_size)
    times = torch.tensor(spec.latent_times(num_latents, fps))
    order = forward_order(num_latents, options.first_block, options.block)
    grid = sampling_times(options.objective, options.num_steps, options.shift)
    for number, frames in enumerate(order.blocks):
        index = list(frames)
        start = window_start(memory, options.sink)
        one_frame = torch.tensor([frame == 0 for frame in frames])
        context = model.dit.look_at(shifted(memory, start))
        block, alone = (
            _Block(
                context=context.first(count),
                tokens=_block_tokens(model, times[index] - start, one_frame, count, latent_size),
                num_segments=count,
                latent_size=latent_size,
            )
            for count in (len(texts), 1)
        )
        shape = (spec.channels, len(index), *latent_size)
        noise = torch.randn(shape, generator=generator_for(seed, "block", number)).to(model.device)
        velocity = _velocity(model, block, alone, options, options.guidance_of(has_past=number > 0))
        latents = SAMPLERS[options.sampler](velocity, noise, grid)
        yield latents
        if number + 1 < len(order.blocks):
            level = options.context_noise
            extra = torch.randn(shape, generator=generator_for(seed, "context", number)).to(model.device)
            made = _evaluate(model, block, noised(options.objective, latents, extra, level), level)[1]
            memory = remember(memory, moved(made, start), times[index], options.sink, options.window)


@dataclass(frozen=True)
class _Block:
    """What stays the same over all evaluations of one block; only patches and noise levels of its tokens change."""

    context: Context
    tokens: Tokens
    num_segments: int
    latent_size: tuple[int, int]


def _velocity(model: Generator, block: _Block, alone: _Block, options: SamplingOptions, scale: float) -> Velocity:
    """The velocity of a block, guided at the noise levels that ``options`` say; ``alone`` is without guidance.

    A self-conditioned model sees what it said last of the data: each segment what was said of its own text, as in
    training.
    """
    said: Tensor | None = None

    def velocity(x: Tensor, t: float) -> Tensor:
        nonlocal said
        now = block if options.is_guided(t) else alone
        seen = seen_on_path(options.objective, x, t)
        found = _evaluate(model, now, seen, t, said)[0]  # (S, C, t, H, W)
        if model.dit.config.self_conditioned:
            said = x.new_zeros(block.num_segments, *x.shape) if said is None else said
            said[: now.num_segments] = predicted_data(options.objective, seen, found, t)
        found = predicted_velocity(options.objective, seen, found, t)
        return guided(found[0], found[1], scale) if now.num_segments > 1 else found[0]

    return velocity


def _block_tokens(
    model: Generator, seconds: Tensor, one_frame: Tensor, num_segments: int, latent_size: tuple[int, int]
) -> Tokens:
    """The packed sequence of a block, once a segment, before it has any content."""
    count = len(seconds)
    nothing = torch.zeros(model.spec.channels, count, *latent_size)
    piece = Piece(nothing, seconds, one_frame, torch.zeros(count), block=1, clean=False)
    sample = Sample(torch.zeros(0, dtype=torch.long), (piece,))
    tokens = pack_tokens([sample] * num_segments, model.dit.config.patch_size, model.spec.compression[1:])
    return tokens.to(model.device)


def _evaluate(
    model: Generator, block: _Block, latents: Tensor, t: float, estimates: Tensor | None = None
) -> tuple[Tensor, Past]:
    """Predictions ``(S, C, t, H, W)`` of the segments, which share the latents, and their keys and values.

    ``estimates`` of the data ``(S, C, t, H, W)`` are each segment's own.
    """
    patch, size, count = model.dit.config.patch_size, block.latent_size, block.num_segments
    conditions = block.tokens.conditions.clone()
    conditions[:, 0] = t
    patches = patchify(latents, patch)  # (T, S, P)
    tokens = replace(block.tokens, patches=patches.flatten(0, 1).repeat(count, 1), conditions=conditions)
    no_states = model.dit.text_embed.weight.new_zeros(0, model.text.config.hidden_size)
    if estimates is not None:
        estimates = torch.cat([patchify(part, patch).flatten(0, 1) for part in estimates[:count]])
    predictions, made = model.dit(tokens, no_states, block.context, estimates)
    by_segment = predictions.float().unflatten(0, (count, *patches.shape[:2]))
    return torch.stack([unpatchify(part, size, patch) for part in by_segment]), made


def _read_texts(model: Generator, texts: list[Tensor], latent_size: tuple[int, int]) -> Memory:
    """Keys and values of the texts: computed once for the whole video."""
    patch = model.dit.config.patch_size
    tokens = pack_tokens([Sample(text, ()) for text in texts], patch, model.spec.compression[1:]).to(model.device)
    states = model.text(tokens.text, tokens.text_lengths)
    _, past = model.dit(tokens, states)
    return Memory(
        past=past,
        text_tokens=tuple(len(place) for place in past.coordinates),  # none where it is seen by cross-attention
        frame_tokens=latent_size[0] // patch[1] * (latent_size[1] // patch[2]),
        seconds=torch.zeros(0),
    )
