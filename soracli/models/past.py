"""What a video being made remembers: what is pinned (a beginning, an end to arrive at) and the last latents (window).

Keys are kept unrotated, so positions can be given anew: the window always begins at second 0, as every stretch did in
training, and a video of any length stays inside the distances that were trained.
Source: attention sinks (Xiao et al. 2023, arXiv:2309.17453); sink and window for video as in LongLive (Yang et al.
2025, arXiv:2509.22622). Differs from the source: what is pinned may lie ahead, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from soracli.models.dit import Past
from soracli.models.layers.attention import Keys


@dataclass(frozen=True)
class Memory:
    """The past of all segments, with the time of every latent frame in it.

    Attributes:
        past: Keys, values and coordinates; times of video tokens are seconds of the whole video.
        text_tokens: How many tokens of text each segment begins with; 0 where text is seen by cross-attention.
        frame_tokens: Tokens of one latent frame.
        seconds: ``(F,)`` time of each remembered latent frame, in the order they were made.
        pinned: ``(F,)`` bool, whether it is never forgotten.
    """

    past: Past
    text_tokens: tuple[int, ...]
    frame_tokens: int
    seconds: Tensor
    pinned: Tensor


def remember(memory: Memory, made: Past, seconds: Tensor, pinned: Tensor, window: int) -> Memory:
    """Add finished latent frames and forget what is neither pinned nor in the window.

    Args:
        memory: So far.
        made: Keys, values and coordinates of the finished frames, of each segment.
        seconds: ``(f,)`` their times.
        pinned: ``(f,)`` bool, which of them are never forgotten.
        window: How many of the others are kept, the last ones.
    """
    times, pins = torch.cat([memory.seconds, seconds]), torch.cat([memory.pinned, pinned])
    newer = (~pins).flip(0).cumsum(0).flip(0)  # how many that are not pinned come after a frame, with itself
    kept = (pins | (newer <= window)).nonzero()[:, 0].cpu()
    index_by_segment = [
        torch.cat([torch.arange(text), _tokens_of(kept, memory.frame_tokens) + text]).to(seconds.device)
        for text in memory.text_tokens
    ]
    keys = tuple(
        # Layers that leave only the text behind leave nothing of finished frames.
        tuple(
            Keys(torch.cat([old.key, new.key])[index], torch.cat([old.value, new.value])[index])
            if len(new.key)
            else old
            for old, new, index in zip(old_layer, new_layer, index_by_segment, strict=True)
        )
        for old_layer, new_layer in zip(memory.past.keys, made.keys, strict=True)
    )
    coordinates, tiles = (
        tuple(torch.cat([old, new])[index] for old, new, index in zip(*both, index_by_segment, strict=bool(both[0])))
        for both in ((memory.past.coordinates, made.coordinates), (memory.past.tiles, made.tiles))
    )
    return Memory(
        Past(keys, coordinates, tiles=tiles, text=memory.past.text),
        memory.text_tokens,
        memory.frame_tokens,
        times[kept.to(times.device)],
        pins[kept.to(pins.device)],
    )


def window_start(memory: Memory, seconds: Tensor) -> float:
    """Second of the whole video that counts as 0 for a block at ``seconds``: where the window, or the block, begins."""
    window = memory.seconds[~memory.pinned]
    seen = torch.cat([window if len(window) else memory.seconds, seconds])
    return float(seen.min())


def shifted(memory: Memory, start: float, end: float, reach: float) -> Past:
    """The past with its times counted from ``start``; text stays where it is.

    What is pinned and lies before stands at 0. What is pinned and lies behind ``end``, where the block in work ends,
    comes nearer as a whole if it is farther than ``reach``: a place that is arrived at later looks like one that is
    soon. The window stays where it is, on either side of the block.

    Args:
        memory: What is remembered.
        start: Of ``window_start``.
        end: Second of the last latent of the block in work.
        reach: How far from the start something pinned may stand, seconds.
    """
    ahead = memory.pinned & (memory.seconds > end)
    closer = 0.0
    if bool(ahead.any()):
        nearest, latest = memory.seconds[ahead].aminmax()
        # Never so near that it stands in the block.
        closer = min(max(0.0, float(latest) - start - reach), float(nearest) - end)
    times = (memory.seconds - start - closer * ahead).clamp(min=0)
    coordinates = []
    for place, text in zip(memory.past.coordinates, memory.text_tokens, strict=True):
        moved = place.clone()
        moved[text:, 0] = times.repeat_interleave(memory.frame_tokens)
        coordinates.append(moved)
    return replace(memory.past, coordinates=tuple(coordinates))


def with_source(past: Past, text_tokens: Sequence[int], source: Past) -> Past:
    """A past in which a source stands behind the texts of the first segments, as many as it was read for.

    Args:
        past: Of all segments.
        text_tokens: How many tokens of text each segment begins with.
        source: What the source left behind, read beside those texts.
    """
    count = len(source.coordinates)

    def joined(old: Tensor, new: Tensor, text: int) -> Tensor:
        return torch.cat([old[:text], new, old[text:]])

    keys = tuple(
        tuple(
            # Layers that leave only the text behind leave nothing of a source.
            Keys(joined(old.key, new.key, text), joined(old.value, new.value, text)) if len(new.key) else old
            for old, new, text in zip(old_layer, new_layer, text_tokens, strict=False)
        )
        + old_layer[count:]
        for old_layer, new_layer in zip(past.keys, source.keys, strict=True)
    )
    coordinates, tiles = (
        tuple(joined(*pair) for pair in zip(old, new, text_tokens, strict=False)) + old[count:]
        for old, new in ((past.coordinates, source.coordinates), (past.tiles, source.tiles))
    )
    return replace(past, keys=keys, coordinates=coordinates, tiles=tiles)


def moved(past: Past, seconds: float) -> Past:
    """The same keys and values, later by so many seconds."""
    coordinates = tuple(torch.cat([place[:, :1] + seconds, place[:, 1:]], 1) for place in past.coordinates)
    return replace(past, coordinates=coordinates)


def _tokens_of(frames: Tensor, frame_tokens: int) -> Tensor:
    return (frames[:, None] * frame_tokens + torch.arange(frame_tokens)).flatten()
