"""What a video being made remembers: the text, the first latents (sink) and the last ones (window), and no more.

Keys are kept unrotated, so positions can be given anew: the window always begins at second 0, as every stretch did in
training, and a video of any length stays inside the distances that were trained.
Source: attention sinks (Xiao et al. 2023, arXiv:2309.17453); sink and window for video as in LongLive (Yang et al.
2025, arXiv:2509.22622).
"""

from __future__ import annotations

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
    """

    past: Past
    text_tokens: tuple[int, ...]
    frame_tokens: int
    seconds: Tensor


def remember(memory: Memory, made: Past, seconds: Tensor, sink: int, window: int) -> Memory:
    """Add finished latent frames and forget what is neither sink nor window.

    Args:
        memory: So far.
        made: Keys, values and coordinates of the finished frames, of each segment.
        seconds: ``(f,)`` their times.
        sink: Latent frames kept from the beginning.
        window: Latent frames kept from the end.
    """
    times = torch.cat([memory.seconds, seconds])
    count = len(times)
    kept = (
        torch.arange(count)
        if count <= sink + window
        else torch.cat([torch.arange(sink), torch.arange(count - window, count)])
    )
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
    )


def window_start(memory: Memory, sink: int) -> float:
    """Second of the whole video that counts as 0 for the next block: where the window begins."""
    frames = memory.seconds[sink:] if len(memory.seconds) > sink else memory.seconds
    return float(frames.min()) if len(frames) else 0.0


def shifted(memory: Memory, start: float) -> Past:
    """The past with its times counted from ``start``; sink frames from before it stand at 0, text stays where it is."""
    coordinates = []
    for place, text in zip(memory.past.coordinates, memory.text_tokens, strict=True):
        moved = place.clone()
        moved[text:, 0] = (moved[text:, 0] - start).clamp(min=0)
        coordinates.append(moved)
    return replace(memory.past, coordinates=tuple(coordinates))


def moved(past: Past, seconds: float) -> Past:
    """The same keys and values, later by so many seconds."""
    coordinates = tuple(torch.cat([place[:, :1] + seconds, place[:, 1:]], 1) for place in past.coordinates)
    return replace(past, coordinates=coordinates)


def _tokens_of(frames: Tensor, frame_tokens: int) -> Tensor:
    return (frames[:, None] * frame_tokens + torch.arange(frame_tokens)).flatten()
