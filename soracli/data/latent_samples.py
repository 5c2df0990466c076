"""What the DiT is shown: pictures and stretches of cached videos, drawn by (seed, step, sample)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.core.errors import DataError
from soracli.data.config import CaptionConfig, LatentSamplesConfig
from soracli.data.latents import Entry, LatentCache


@dataclass(frozen=True)
class LatentSample:
    """A picture or a stretch of a video.

    Attributes:
        latents: ``(C, T, H, W)``, normalised.
        seconds: ``(T,)`` time of each latent frame, the first of the stretch at 0.
        one_frame: ``(T,)`` bool, whether it holds a single frame.
        begins: Whether the stretch begins where its video begins, or has no past because all of it are stills.
        caption: Its text; of an edit the instruction.
        source: ``(C, T, H, W)`` what it is an edit of, frame for frame; None if it is none.
        tail: Latents at its end that are a video of their own, which the others run into.
    """

    latents: Tensor
    seconds: Tensor
    one_frame: Tensor
    begins: bool
    caption: str
    source: Tensor | None = None
    tail: int = 0


@dataclass(frozen=True)
class Choice:
    """Which stretch of which entry a sample is, before its latents are read.

    Attributes:
        entry: Of the cache.
        start: First latent frame.
        count: Latent frames, those of a tail among them.
        caption: Its text.
        size: Rows and columns of latents that are shown.
        tail: How many of the frames are of its tail, the last ones.
    """

    entry: Entry
    start: int
    count: int
    caption: str
    size: tuple[int, int]
    tail: int = 0

    @property
    def begins(self) -> bool:
        """Whether nothing came before it; stills have no past that they go on with."""
        return self.start == 0 or self.entry.stills


def shown_size(shape: tuple[int, int, int, int], config: LatentSamplesConfig) -> tuple[int, int]:
    """Rows and columns that are shown of latents ``(C, T, H, W)``: all, or the sides of their middle square."""
    _, _, rows, columns = shape
    return (min(rows, columns),) * 2 if config.square else (rows, columns)


class LatentSampler:
    """Draws samples from a cache."""

    def __init__(self, cache: LatentCache, config: LatentSamplesConfig, caption: CaptionConfig | None = None) -> None:
        """Sort the entries.

        Args:
            cache: Where from.
            config: What is shown.
            caption: Which of its texts with.

        Raises:
            DataError: If the cache is empty, or holds only pictures, or no edits, where videos or edits are wanted.
        """
        self.cache, self.config, self.caption = cache, config, caption or CaptionConfig()
        self._by_source = [
            [entry for entry in cache.entries if entry.source == source] for source in ("world", "clips")
        ]
        self._videos = [[entry for entry in entries if entry.shape[1] > 1] for entries in self._by_source]
        self._cut = [[entry for entry in entries if entry.tail] for entries in self._by_source]
        if not cache.entries:
            raise DataError(f"{cache.folder} holds no latents: run sora latents cache")
        self._edits = [entry for entry in cache.entries if entry.paired and entry.shape[1] > 1]
        self._still_edits = [entry for entry in cache.entries if entry.paired and entry.still_captions]
        self._check_edits()
        if config.edit_share == 1:
            return
        if not any(self._by_source):
            raise DataError(f"{cache.folder} holds edits only: set samples.edit_share = 1, or cache other videos too")
        if config.image_share < 1 and not any(self._videos):
            raise DataError(f"{cache.folder} holds pictures only: set samples.image_share = 1, or cache videos")
        if config.image_share < 1 and config.cut_share and not any(self._cut):
            raise DataError(
                f"samples.cut_share = {config.cut_share:g}, but {cache.folder} holds no cut videos: "
                "cache some with sora latents cache --set world.tails=true"
            )

    def _check_edits(self) -> None:
        config = self.config
        needed = [("videos", self._edits)] if config.image_share < 1 else []
        needed += [("images", self._still_edits)] if config.image_share or config.images_first else []
        for kind, entries in needed if config.edit_share else ():
            if not entries:
                raise DataError(
                    f"samples.edit_share = {config.edit_share:g}, but {self.cache.folder} holds no such edits: "
                    f"cache some with sora latents cache --set world_edits.{kind}=1000"
                )

    def sample(self, generator: torch.Generator, *, pictures_only: bool = False) -> LatentSample:
        """Draw one sample.

        Args:
            generator: Decides everything.
            pictures_only: Whatever the share of pictures is.
        """
        return self.read(self.choose(generator, pictures_only=pictures_only))

    def choose(self, generator: torch.Generator, *, pictures_only: bool = False) -> Choice:
        """Draw which sample it is, without reading it: what it will cost is known before anyone pays.

        Args:
            generator: Decides everything.
            pictures_only: Whatever the share of pictures is.
        """
        config = self.config
        picture = _uniform(generator) < (1.0 if pictures_only else config.image_share)
        cut = False
        if config.edit_share and _uniform(generator) < config.edit_share:
            entries = self._still_edits if picture else self._edits
        else:
            cut = not picture and config.cut_share > 0 and _uniform(generator) < config.cut_share
            groups = self._by_source if picture else self._cut if cut else self._videos
            from_world = bool(groups[0]) and (not groups[1] or _uniform(generator) < config.world_share)
            entries = groups[0] if from_world else groups[1]
        entry = entries[_integer(generator, len(entries))]
        start, count, tail, captions, originals = 0, 1, 0, entry.still_captions, entry.still_originals
        if cut:
            wanted = config.latent_frames[_integer(generator, len(config.latent_frames))]
            tail = 1 + _integer(generator, min(entry.tail, max(1, wanted - 1)))
            start = max(0, entry.tail_after - max(1, wanted - tail))
            count, captions, originals = entry.tail_after - start + tail, entry.captions, entry.originals
        elif not picture:
            wanted = config.latent_frames[_integer(generator, len(config.latent_frames))]
            count = entry.shape[1] if entry.whole else min(wanted, entry.shape[1])
            captions, originals = entry.captions, entry.originals
            room = entry.shape[1] - count
            middle = room > 0 and count > 1 and _uniform(generator) < config.middle_share
            start = 1 + _integer(generator, room) if middle else 0
        # Nothing is drawn where there is no choice, so caches without originals give the samples they always gave.
        if originals and (not captions or _uniform(generator) >= self.caption.synthetic):
            captions = originals
        caption = captions[_integer(generator, len(captions))] if captions else ""
        return Choice(entry, start, count, caption, shown_size(entry.shape, config), tail)

    def read(self, choice: Choice) -> LatentSample:
        """The sample that was chosen."""
        entry, spec, stop = choice.entry, self.cache.spec, choice.start + choice.count - choice.tail
        stills = [number / entry.fps for number in range(stop)]
        times = stills if entry.stills else spec.latent_times(stop, entry.fps)
        end = spec.video_frames(stop) / entry.fps
        seconds = torch.tensor(times[choice.start :] + spec.latent_times(choice.tail, entry.fps, start=end))
        one_frame = torch.full((choice.count,), entry.stills)
        one_frame[0] = choice.begins
        if choice.tail:
            one_frame[-choice.tail] = True
        top, left = ((whole - shown) // 2 for whole, shown in zip(entry.shape[2:], choice.size, strict=True))
        rows, columns = slice(top, top + choice.size[0]), slice(left, left + choice.size[1])
        shown = (slice(None), slice(choice.start, stop), rows, columns)
        latents = self.cache.latents(entry)[shown]
        if choice.tail:
            latents = torch.cat([latents, self.cache.tail_latents(entry)[:, : choice.tail, rows, columns]], 1)
        return LatentSample(
            latents=latents,
            seconds=seconds - seconds[0],
            one_frame=one_frame,
            begins=choice.begins,
            caption=choice.caption,
            source=self.cache.source_latents(entry)[shown] if entry.paired else None,
            tail=choice.tail,
        )


def _integer(generator: torch.Generator, count: int) -> int:
    return int(torch.randint(count, (1,), generator=generator))


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand(1, generator=generator))
