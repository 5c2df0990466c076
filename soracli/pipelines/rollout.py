"""A video of any length, block after block, in constant memory.

A block is latent frames that are given, and then read, or that are to be made. For each one that is made: noise, a few
steps along the guided velocity with the past held as keys and values, and out it goes to be decoded; one more pass
remembers it. Two segments run side by side: with the prompt, and with none (or a negative one) for guidance. What is
given and in which order the rest is made is all that tells one verb from another: see ``pipelines.blocks``. An edit has
three segments: with the instruction and the source, with the source alone, and with neither; the source is read anew
for every block, as far as window and block reach, and is not remembered. A distilled model is told the size of a step
and the guidance scale, and then there is one segment alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from soracli.diffusion.flow import interpolate
from soracli.diffusion.objective import noised, predicted_data, predicted_velocity, sampling_times, seen_on_path
from soracli.diffusion.options import SamplingOptions, guidance_input
from soracli.diffusion.samplers import SAMPLERS, Velocity, guided, guided_by_two, times_from
from soracli.models.dit import Context, Past
from soracli.models.generator import Generator
from soracli.models.past import Memory, moved, remember, shifted, window_start, with_source
from soracli.models.tokens import SOURCE_BLOCK, Piece, Sample, Tokens, pack_tokens, patchify, unpatchify
from soracli.training.seeding import generator_for

_SLACK = 1e-4
"""Seconds that a latent's time may be off by rounding."""


@dataclass(frozen=True)
class Block:
    """Latent frames that are read, or made, together.

    Attributes:
        prompt: What they show.
        seconds: ``(T,)`` time of each.
        one_frame: ``(T,)`` bool, whether it holds a single frame.
        pinned: ``(T,)`` bool, whether it is remembered to the end.
        given: ``(C, T, H, W)`` normalised latents that are there already; None where they are to be made.
        origin: ``(C, T, H, W)`` what they are made from, with noise up to ``strength``; None for noise alone.
        strength: Noise level at which the steps begin.
    """

    prompt: str
    seconds: Tensor
    one_frame: Tensor
    pinned: Tensor
    given: Tensor | None = None
    origin: Tensor | None = None
    strength: float = 1.0


@dataclass(frozen=True)
class Source:
    """What a video is an edit of, frame for frame.

    Attributes:
        latents: ``(C, T, H, W)``, normalised.
        seconds: ``(T,)`` time of each latent frame, as those of the blocks.
        one_frame: ``(T,)`` bool, whether it holds a single frame.
    """

    latents: Tensor
    seconds: Tensor
    one_frame: Tensor


@torch.inference_mode()
def roll_out(
    model: Generator,
    blocks: Sequence[Block],
    *,
    latent_size: tuple[int, int],
    fps: float,
    seed: int,
    options: SamplingOptions,
    negative_prompt: str = "",
    source: Source | None = None,
) -> Iterator[Tensor]:
    """Latents of the blocks that are to be made, one after another.

    Args:
        model: What makes it.
        blocks: In the order they are read and made.
        latent_size: Rows and columns of latents.
        fps: Frames a second.
        seed: Decides the noise; equal calls give equal latents.
        options: How to sample.
        negative_prompt: What to steer away from.
        source: What is edited, for a model with ``dit.edits``; the prompts are instructions then.

    Yields:
        Normalised latents ``(C, T, H, W)`` on the model's device.
    """
    folds = options.folds_guidance(negative_prompt=negative_prompt, has_source=source is not None)
    guides = any(options.guidance_of(has_past) != 1 for has_past in (False, True))
    if source is not None:
        guides = guides or options.source_guidance_scale != 1
    setting = _Setting(
        model=model,
        options=options,
        latent_size=latent_size,
        num_texts=1 if folds or not guides else 2 if source is None else 3,
        folds=folds,
        source=source,
        # As far as window and block span: a recipe has to train stretches that long in any case.
        reach=model.spec.latent_times(1 + options.window + options.block, fps)[-1],
        seed=seed,
    )
    texts = memory = None
    history, prompt, number = list[_Read](), "", 0
    for place, block in enumerate(blocks):
        if texts is None or memory is None or block.prompt != prompt:
            prompt = block.prompt
            texts = memory = _read_texts(setting, [prompt, negative_prompt, negative_prompt][: setting.num_texts])
            for earlier in history:  # read beside the old text, so read again beside the new one
                memory = _remember(setting, memory, _work(setting, texts, memory, earlier.block), earlier)
        work = _work(setting, texts, memory, block)
        if block.given is None:
            scale = options.guidance_of(has_past=len(memory.seconds) > 0)
            latents, level = _make(setting, work, block, number, scale), options.context_noise
            yield latents
        else:
            latents, level = block.given.to(model.device), 0.0
        if place + 1 < len(blocks):
            if level:
                latents = noised(options.objective, latents, _noise(setting, block, "context", number), level)
            read = _Read(block, latents, level)
            memory = _remember(setting, memory, work, read)
            history = [part for one in (*history, read) if (part := _still_there(one, memory)) is not None]
        number += block.given is None


@dataclass(frozen=True)
class _Setting:
    """What stays the same over all blocks."""

    model: Generator
    options: SamplingOptions
    latent_size: tuple[int, int]
    num_texts: int
    folds: bool
    source: Source | None
    reach: float
    seed: int


@dataclass(frozen=True)
class _Read:
    """A block as it was read: its latents with the noise that was put on them."""

    block: Block
    shown: Tensor
    level: float


@dataclass(frozen=True)
class _Work:
    """What stays the same over all evaluations of one block; only patches and noise levels of its tokens change."""

    context: Context
    tokens: Tokens
    num_segments: int
    start: float


def _make(setting: _Setting, work: _Work, block: Block, number: int, scale: float) -> Tensor:
    """The latents of a block, from noise, or from its origin under noise."""
    options, noise = setting.options, _noise(setting, block, "block", number)
    times, x = sampling_times(options.objective, options.num_steps, options.shift), noise
    if block.origin is not None:
        times, x = times_from(times, block.strength), interpolate(block.origin.to(noise), noise, block.strength)
    tokens = _block_tokens(setting, block, work.start, 1)
    alone = replace(work, context=work.context.first(1), tokens=tokens, num_segments=1)
    velocity = _velocity(setting, work, alone, scale)
    return SAMPLERS[options.sampler](velocity, x, times)


def _remember(setting: _Setting, memory: Memory, work: _Work, read: _Read) -> Memory:
    made = _evaluate(setting, work, read.shown, read.level)[1]
    return remember(memory, moved(made, work.start), read.block.seconds, read.block.pinned, setting.options.window)


def _still_there(read: _Read, memory: Memory) -> _Read | None:
    """What of it is remembered; None for nothing."""
    block, kept = read.block, torch.isin(read.block.seconds, memory.seconds)
    if not bool(kept.any()):
        return None
    part = Block(block.prompt, block.seconds[kept], block.one_frame[kept], block.pinned[kept])
    return _Read(part, read.shown[:, kept.to(read.shown.device)], read.level)


def _work(setting: _Setting, texts: Memory, memory: Memory, block: Block) -> _Work:
    start = window_start(memory, block.seconds)
    past = shifted(memory, start, float(block.seconds.max()), setting.reach)
    if setting.source is not None:
        past = with_source(past, memory.text_tokens, _read_source(setting, setting.source, texts, start))
    context = setting.model.dit.look_at(past)
    tokens = _block_tokens(setting, block, start, setting.num_texts)
    return _Work(context, tokens, setting.num_texts, start)


def _velocity(setting: _Setting, work: _Work, alone: _Work, scale: float) -> Velocity:
    """The velocity of a block, guided at the noise levels that the options say; ``alone`` is without guidance.

    A distilled model says the mean velocity of a whole step where the step was taught; from a level between those of
    the grid (of an origin under noise) it follows the plain velocity to the next of them. A self-conditioned model sees
    what it said last of the data: each segment what was said of its own text, as in training.
    """
    options, objective, said = setting.options, setting.options.objective, None
    grid = sampling_times(objective, options.num_steps, options.shift).tolist() if options.takes_taught_steps else []

    def velocity(x: Tensor, t: float) -> Tensor:
        nonlocal said
        is_guided = options.is_guided(t)
        now = work if is_guided else alone
        step_size = 1 / options.num_steps if t in grid else 0.0
        guidance = guidance_input(scale) if setting.folds and is_guided else 0.0
        seen = seen_on_path(objective, x, t)
        found = _evaluate(setting, now, seen, t, said, step_size, guidance)[0]  # (S, C, t, H, W)
        if setting.model.dit.config.self_conditioned:
            said = x.new_zeros(work.num_segments, *x.shape) if said is None else said
            said[: now.num_segments] = predicted_data(objective, seen, found, t)
        found = predicted_velocity(objective, seen, found, t)
        if now.num_segments == 3:
            sources = options.source_guidance_scale
            return guided_by_two(found[2], found[1], found[0], source_scale=sources, text_scale=scale)
        return guided(found[0], found[1], scale) if now.num_segments > 1 else found[0]

    return velocity


def _block_tokens(setting: _Setting, block: Block, start: float, num_segments: int) -> Tokens:
    """The packed sequence of a block, once a segment, before it has any content."""
    model, count = setting.model, len(block.seconds)
    nothing = torch.zeros(model.spec.channels, count, *setting.latent_size)
    piece = Piece(nothing, block.seconds - start, block.one_frame, torch.zeros(count), block=1, clean=False)
    sample = Sample(torch.zeros(0, dtype=torch.long), (piece,))
    tokens = pack_tokens([sample] * num_segments, model.dit.config.patch_size, model.spec.compression[1:])
    return tokens.to(model.device)


def _evaluate(
    setting: _Setting,
    work: _Work,
    latents: Tensor,
    t: float,
    estimates: Tensor | None = None,
    step_size: float = 0.0,
    guidance: float = 0.0,
) -> tuple[Tensor, Past]:
    """Predictions ``(S, C, t, H, W)`` of the segments, which share the latents, and their keys and values.

    ``estimates`` of the data ``(S, C, t, H, W)`` are each segment's own.
    """
    model, count = setting.model, work.num_segments
    patch = model.dit.config.patch_size
    conditions = work.tokens.conditions.clone()
    conditions[:, 0], conditions[:, 1], conditions[:, 2] = t, step_size, guidance
    patches = patchify(latents, patch)  # (T, S, P)
    tokens = replace(work.tokens, patches=patches.flatten(0, 1).repeat(count, 1), conditions=conditions)
    no_states = model.dit.text_embed.weight.new_zeros(0, model.text.config.hidden_size)
    if estimates is not None:
        estimates = torch.cat([patchify(part, patch).flatten(0, 1) for part in estimates[:count]])
    predictions, made = model.dit(tokens, no_states, work.context, estimates)
    by_segment = predictions.float().unflatten(0, (count, *patches.shape[:2]))
    return torch.stack([unpatchify(part, setting.latent_size, patch) for part in by_segment]), made


def _noise(setting: _Setting, block: Block, purpose: str, number: int) -> Tensor:
    shape = (setting.model.spec.channels, len(block.seconds), *setting.latent_size)
    return torch.randn(shape, generator=generator_for(setting.seed, purpose, number)).to(setting.model.device)


def _read_source(setting: _Setting, source: Source, texts: Memory, start: float) -> Past:
    """What the source leaves behind in the segments that see it, where window and block can lie."""
    model, count = setting.model, max(1, setting.num_texts - 1)
    near = (source.seconds >= start - _SLACK) & (source.seconds <= start + setting.reach + _SLACK)
    piece = Piece(
        source.latents[:, near.to(source.latents.device)].cpu(),
        source.seconds[near] - start,
        source.one_frame[near],
        torch.zeros(int(near.sum())),
        block=SOURCE_BLOCK,
        clean=True,
    )
    sample = Sample(torch.zeros(0, dtype=torch.long), (piece,))
    patch = model.dit.config.patch_size
    tokens = pack_tokens([sample] * count, patch, model.spec.compression[1:]).to(model.device)
    no_states = model.dit.text_embed.weight.new_zeros(0, model.text.config.hidden_size)
    return model.dit(tokens, no_states, model.dit.look_at(texts.past).first(count))[1]


def _read_texts(setting: _Setting, prompts: Sequence[str]) -> Memory:
    """Keys and values of the texts: computed once for all blocks of a prompt."""
    model, (rows, columns) = setting.model, setting.latent_size
    patch = model.dit.config.patch_size
    samples = [Sample(model.prompt_tokens(prompt), ()) for prompt in prompts]
    tokens = pack_tokens(samples, patch, model.spec.compression[1:]).to(model.device)
    states = model.text(tokens.text, tokens.text_lengths)
    _, past = model.dit(tokens, states)
    return Memory(
        past=past,
        text_tokens=tuple(len(place) for place in past.coordinates),  # none where it is seen by cross-attention
        frame_tokens=rows // patch[1] * (columns // patch[2]),
        seconds=torch.zeros(0),
        pinned=torch.zeros(0, dtype=torch.bool),
    )
