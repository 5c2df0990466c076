"""``sora caption eval``: what a captioner gets right of the world, and how well the captions of any clips fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soracli.core.errors import DataError, UsageError
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.manifest import read_manifest
from soracli.data.world.grammar import Split
from soracli.metrics.agreement import Agreement, agreement
from soracli.metrics.caption_facts import VISIBLE, sum_facts
from soracli.metrics.caption_text import TextFigures, text_figures
from soracli.metrics.intervals import Share, wilson_share
from soracli.models.caption_tokens import caption_tokens
from soracli.models.captioner import Captioner
from soracli.models.captioner_store import load_captioner
from soracli.pipelines.caption_sources import BATCH, clip_input
from soracli.pipelines.clip_sources import clips_names
from soracli.pipelines.score_captions import WorldCaption, caption_facts, caption_input, caption_scenes, scene_clips
from soracli.training.device import choose_device, mixed_precision

WORLD_SEED: Final = 9003
"""A world that no captioner is trained on."""
_SPLITS: Final[dict[str, Split]] = {"world": "train", "held out": "held_out"}
_SHOWN: Final = 3


@dataclass(frozen=True)
class FactShares:
    """Facts of one kind; None where there is none to count.

    Attributes:
        precision: Of the facts told, those that are right.
        recall: Of the facts there, those told right.
    """

    precision: Share | None
    recall: Share | None


@dataclass(frozen=True)
class WorldCaptions:
    """What a captioner writes of scenes it never saw.

    Attributes:
        name: ``world``, combinations of attributes that training shows; ``held out``, scenes with one it never does.
        scenes: How many.
        facts: By kind; ``visible`` are those of ``metrics.caption_facts.VISIBLE`` together.
        flawless: Captions that tell no wrong fact of those kinds.
        unread: Share of captions that are no sentences of the world's grammar: of these no fact is counted as told.
        text: Figures of the captions.
        agreement: Mean cosine of video and caption.
        confidence: Mean confidence.
        confidence_flawed: Mean confidence of captions that are not flawless; None if all are.
        examples: The first captions.
    """

    name: str
    scenes: int
    facts: dict[str, FactShares]
    flawless: Share
    unread: float
    text: TextFigures
    agreement: float
    confidence: float
    confidence_flawed: float | None
    examples: tuple[str, ...]


@dataclass(frozen=True)
class SetCaptions:
    """The captions that a manifest has.

    Attributes:
        name: Of the manifest.
        clips: In it.
        uncaptioned: Of those without a caption; they are left out.
        left_out: Name and reason of clips that cannot be read.
        text: Figures of the captions.
        agreement: Of clips and captions, by the captioner.
        original_text: Figures of the texts that clips came with, where they are others.
        original_agreement: Of those clips and those texts.
    """

    name: str
    clips: int
    uncaptioned: int
    left_out: tuple[tuple[str, str], ...]
    text: TextFigures
    agreement: Agreement
    original_text: TextFigures | None
    original_agreement: Agreement | None


@dataclass(frozen=True)
class CaptionReport:
    """All that was found.

    Attributes:
        captioner: Hash of the captioner.
        worlds: Of the built-in world.
        sets: Of manifests.
        protocol: What was measured, for people.
    """

    captioner: str
    worlds: tuple[WorldCaptions, ...]
    sets: tuple[SetCaptions, ...]
    protocol: str


def evaluate_captions(
    model: Path,
    *,
    clips: Sequence[Path] = (),
    world: int = 100,
    seconds: float = 4.0,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> CaptionReport:
    """Measure.

    Args:
        model: A captioner's folder, a model folder that has one, or a finished run.
        clips: Manifests whose captions are measured.
        world: Scenes of each part of the built-in world; 0: none.
        seconds: Of each scene.
        device: As ``--device``.
        reporter: Told how far it is.

    Raises:
        SoraError: For anything a user can put right.
    """
    if not world and not clips:
        raise UsageError("nothing to measure: --world 0 and no --clips")
    reporter = reporter or SilentReporter()
    captioner, tokenizer, record = load_captioner(model, choose_device(device))
    sets = tuple(
        _measure_set(captioner, tokenizer, path, name, reporter)
        for path, name in zip(clips, clips_names(clips), strict=True)
    )
    worlds = tuple(
        _measure_world(captioner, tokenizer, name, split, world, seconds, reporter)
        for name, split in (_SPLITS.items() if world else ())
    )
    protocol = (
        f"likeliest captions of {world} scenes each of the world {WORLD_SEED}, {captioner.config.num_frames} frames of "
        f"their first {seconds:g} s; visible facts are {', '.join(VISIBLE)}, of objects that cover a thousandth of the "
        "first frame and of a third of all; intervals (95 %) take facts as independent; agreement is the captioner's"
    )
    return CaptionReport(str(record["hash"]), worlds, sets, protocol)


def _measure_world(
    captioner: Captioner,
    tokenizer: Tokenizer,
    name: str,
    split: Split,
    count: int,
    seconds: float,
    reporter: Reporter,
) -> WorldCaptions:
    config = captioner.config
    with TemporaryDirectory(prefix="sora-caption-eval-") as folder:
        clips = scene_clips(
            Path(folder),
            world_seed=WORLD_SEED,
            split=split,
            count=count,
            num_frames=config.num_frames,
            seconds=seconds,
            side=config.side,
            reporter=reporter,
        )
    if not clips:
        raise UsageError(f"none of {count} scenes shows what is asked about: take more with --world")
    return world_captions(name, list(caption_scenes(captioner, tokenizer, clips, reporter)))


def world_captions(name: str, captions: Sequence[WorldCaption]) -> WorldCaptions:
    """Figures of captions of scenes; there is at least one.

    Args:
        name: What they are called.
        captions: As ``caption_scenes`` gives them.
    """
    found = caption_facts(captions)
    is_flawless = [
        is_read and all(count[kind].right == count[kind].told for kind in VISIBLE) for is_read, count in found
    ]
    flawed = [caption.confidence for caption, good in zip(captions, is_flawless, strict=True) if not good]
    return WorldCaptions(
        name=name,
        scenes=len(captions),
        facts={
            kind: FactShares(_share(count.right, count.told), _share(count.right, count.there))
            for kind, count in sum_facts(count for _, count in found).items()
        },
        flawless=wilson_share(sum(is_flawless), len(captions)),
        unread=sum(not is_read for is_read, _ in found) / len(captions),
        text=text_figures([caption.text for caption in captions]),
        agreement=sum(caption.agreement for caption in captions) / len(captions),
        confidence=sum(caption.confidence for caption in captions) / len(captions),
        confidence_flawed=sum(flawed) / len(flawed) if flawed else None,
        examples=tuple(caption.text for caption in captions[:_SHOWN]),
    )


def _share(right: int, total: int) -> Share | None:
    return wilson_share(right, total) if total else None


def _measure_set(captioner: Captioner, tokenizer: Tokenizer, path: Path, name: str, reporter: Reporter) -> SetCaptions:
    manifest = read_manifest(path)
    clips = [clip for clip in manifest.clips if clip.caption]
    if not clips:
        raise DataError(f"{path}: no clip has a caption; have them captioned: sora caption write {path}")
    videos: list[Tensor] = []
    left_out: list[tuple[str, str]] = []
    kept = []
    with reporter.task(f"looking at {name}", len(clips), "clip") as task:
        for clip in clips:
            try:
                frames, times = clip_input(manifest, clip, captioner.config.num_frames, captioner.config.side)
            except DataError as error:
                left_out.append((clip.original_name, str(error)))
            else:
                videos.append(embed_clip(captioner, frames, times))
                kept.append(clip)
            task.advance()
    if not kept:
        raise DataError(f"{path}: none of {len(clips)} captioned clips can be read, the first one: {left_out[0][1]}")
    video = torch.stack(videos)
    old = [number for number, clip in enumerate(kept) if clip.original_caption]
    originals = [kept[number].original_caption for number in old]
    captions = [clip.caption for clip in kept]
    return SetCaptions(
        name=name,
        clips=len(manifest.clips),
        uncaptioned=len(manifest.clips) - len(clips),
        left_out=tuple(left_out),
        text=text_figures(captions),
        agreement=agreement(video, embed_texts(captioner, tokenizer, captions)),
        original_text=text_figures(originals) if old else None,
        original_agreement=agreement(video[old], embed_texts(captioner, tokenizer, originals)) if old else None,
    )


@torch.no_grad()
def embed_clip(captioner: Captioner, frames: Tensor, times: Tensor) -> Tensor:
    """The embedding ``(E,)`` of one clip, as ``clip_input`` gives it."""
    device = captioner.embed.weight.device
    with mixed_precision("auto", device):
        return captioner.embed_video(captioner.see(*caption_input([frames], [times], device)))[0].cpu()


@torch.no_grad()
def embed_texts(captioner: Captioner, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Embeddings ``(N, E)`` of texts; those longer than the captioner's captions count by their beginning."""
    device = captioner.embed.weight.device
    found = []
    for first in range(0, len(texts), BATCH):
        told = caption_tokens(tokenizer, texts[first : first + BATCH], captioner.config.max_tokens).to(device)
        with mixed_precision("auto", device):
            found.append(captioner.embed_text(told.tokens, told.ends).cpu())
    return torch.cat(found)
