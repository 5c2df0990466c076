"""How much of what a captioner writes of the world is right, on scenes that it never saw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soracli.core.progress import Reporter, SilentReporter
from soracli.data.caption_scenes import SceneClip, read_scene_clip, scene_drawer
from soracli.data.drawn_scenes import write_drawn
from soracli.data.world.grammar import Split
from soracli.data.world.prompts import parse_prompt
from soracli.metrics.caption_facts import FactCount, count_facts, precision, recall, sum_facts
from soracli.models.caption_decoding import Written, write_captions
from soracli.models.caption_tokens import caption_text, caption_tokens
from soracli.models.captioner import Captioner
from soracli.training.device import mixed_precision

_BATCH = 16


@dataclass(frozen=True)
class WorldCaption:
    """One caption of one scene.

    Attributes:
        clip: What was shown.
        text: What was written.
        confidence: Of the captioner in it.
        agreement: Cosine of the embeddings of video and text.
    """

    clip: SceneClip
    text: str
    confidence: float
    agreement: float


def scene_clips(
    folder: Path,
    *,
    world_seed: int,
    split: Split,
    count: int,
    num_frames: int,
    seconds: float,
    side: int,
    reporter: Reporter | None = None,
) -> list[SceneClip]:
    """The first seconds of the scenes 0, 1, ... of a world, drawn into a folder.

    Left out are scenes that do not show what they should: an object, or of held-out scenes one that is held out.

    Args:
        folder: Of these settings alone; what is there is not drawn again.
        world_seed: Which world.
        split: Which combinations of attributes.
        count: How many.
        num_frames: Frames of each.
        seconds: From the first to the last.
        side: Rows and columns.
        reporter: Told how far it is.
    """
    between = seconds / max(1, num_frames - 1)
    draw = scene_drawer(world_seed, split, num_frames, between, side)
    write_drawn(folder, count, draw, reporter=reporter or SilentReporter())
    found = (
        read_scene_clip(folder, world_seed, split, index, num_frames=num_frames, seconds_between=between)
        for index in range(count)
    )
    clips = [clip for clip in found if clip is not None]
    return [clip for clip in clips if clip.scene.held_out] if split == "held_out" else clips


@torch.no_grad()
def caption_scenes(
    captioner: Captioner, tokenizer: Tokenizer, clips: Sequence[SceneClip], reporter: Reporter | None = None
) -> Iterator[WorldCaption]:
    """Write the likeliest caption of each clip; all have as many frames."""
    device = captioner.embed.weight.device
    with (reporter or SilentReporter()).task("captioning scenes", len(clips), "clip") as task:
        for first in range(0, len(clips), _BATCH):
            some = clips[first : first + _BATCH]
            frames, times = caption_input([clip.frames for clip in some], [clip.times for clip in some], device)
            with mixed_precision("auto", device):
                seen = captioner.see(frames, times)
                written = write_captions(captioner, seen)
                agreement = agreements(captioner, tokenizer, seen, written)
            for clip, one, fits in zip(some, written, agreement, strict=True):
                yield WorldCaption(clip, caption_text(tokenizer, one.tokens), one.confidence, fits)
            task.advance(len(some))


def caption_input(frames: Sequence[Tensor], times: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Clips of as many frames each ``(T, S, S, 3)`` uint8 and ``(T,)`` seconds, as ``Captioner.see`` takes them."""
    pixels = torch.stack(list(frames)).to(device).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return pixels, torch.stack(list(times)).to(device)


def agreements(captioner: Captioner, tokenizer: Tokenizer, seen: Tensor, written: Sequence[Written]) -> list[float]:
    """Cosine of each video's embedding and that of what was written of it."""
    texts = [caption_text(tokenizer, one.tokens) for one in written]
    told = caption_tokens(tokenizer, texts, captioner.config.max_tokens).to(seen.device)
    cosines = (captioner.embed_video(seen) * captioner.embed_text(told.tokens, told.ends)).sum(-1)
    found: list[float] = cosines.tolist()
    return found


def caption_facts(captions: Sequence[WorldCaption]) -> list[tuple[bool, dict[str, FactCount]]]:
    """Whether each caption is sentences of the world's grammar, and the facts it tells; none if it is not."""
    found = []
    for caption in captions:
        said = parse_prompt(caption.text)
        found.append((said is not None, count_facts(caption.clip.facts(), said)))
    return found


def world_figures(captions: Sequence[WorldCaption]) -> dict[str, float]:
    """What a training logs of them: precision and recall of visible facts, and the share that was not read."""
    found = caption_facts(captions)
    counts = sum_facts(count for _, count in found)
    figures = {"precision": precision(counts["visible"]), "recall": recall(counts["visible"])}
    figures |= {f"precision_{kind}": precision(count) for kind, count in counts.items() if kind != "visible"}
    figures["unread"] = sum(not is_read for is_read, _ in found) / max(1, len(captions))
    return {name: value for name, value in figures.items() if math.isfinite(value)}
