"""What a captioner is shown: frames with a caption, of world scenes and of captioned clips, drawn by (step, sample).

Axes: T frames, S side in pixels.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soracli.core.errors import DataError
from soracli.data.caption_scenes import read_scene_clip
from soracli.data.compose import compose_over_random
from soracli.data.config import CaptionDataConfig, CaptionStage
from soracli.data.degrade import degrade_frames
from soracli.data.even_frames import even_frames
from soracli.data.image_read import Frames
from soracli.data.manifest import Clip, Manifest, read_manifest
from soracli.data.world.captions import Style, caption_scene
from soracli.data.world.grammar import sample_scene

_WORST = {"blur": 2.2, "noise": 0.05, "colour_shift": 0.06, "blocks": 0.25, "faint": 0.08}
"""As ``JudgeDataConfig`` has them."""


@dataclass(frozen=True)
class CaptionSample:
    """One sample.

    Attributes:
        frames: ``(T, 3, S, S)`` float32 in [-1, 1].
        times: ``(T,)`` seconds after the first.
        caption: What they show.
    """

    frames: Tensor
    times: Tensor
    caption: str


def draw_stage(config: CaptionDataConfig, step: int, generator: torch.Generator) -> CaptionStage:
    """The kind of samples of one step, by the weights of those that are due."""
    due = [stage for stage in config.stages if stage.is_due(step)]
    weights = torch.tensor([stage.weight for stage in due])
    return due[int(torch.multinomial(weights, 1, generator=generator))]


def captioned(manifest: Path) -> tuple[Manifest, list[Clip]]:
    """A manifest and those of its training clips that have a caption.

    Raises:
        DataError: If it cannot be read, or there are none.
    """
    found = read_manifest(manifest)
    clips = [clip for clip in found.clips if clip.split == "train" and clip.caption]
    if not clips:
        raise DataError(
            f"{manifest}: no clip of the split 'train' has a caption to learn from; put NAME.txt beside the clips and "
            "run sora clips index again"
        )
    return found, clips


def spread(frames: Frames, times: list[float], wanted: int) -> tuple[Frames, Tensor]:
    """Exactly ``wanted`` frames with their seconds: clips that have fewer show some twice, a picture stays one."""
    count = wanted if len(frames) > 1 else 1
    numbers = [round(number * (len(frames) - 1) / max(1, count - 1)) for number in range(count)]
    return frames[numbers], torch.tensor(times)[numbers]


class CaptionPool:
    """Drawn scenes of the world, and the decoded clips of a manifest, read when first asked for."""

    def __init__(self, config: CaptionDataConfig, side: int, scenes: Path, manifest: Path | None) -> None:
        """Look at the manifest; nothing is decoded yet.

        Args:
            config: The recipe's section.
            side: S.
            scenes: Where ``write_drawn`` drew the scenes.
            manifest: Captioned clips; None: every sample comes from the world.

        Raises:
            DataError: If the recipe wants clips alone and there is no manifest, or it has none with a caption.
        """
        self.config, self.side, self.scenes = config, side, scenes
        self._kept: OrderedDict[int, tuple[Frames, list[float]]] = OrderedDict()
        self._kept_bytes = 0
        self._broken: set[int] = set()
        self._manifest, self._clips = None, []  # type: Manifest | None, list[Clip]
        if manifest is None and config.world_share == 0:
            raise DataError(
                "data.world_share = 0 leaves all samples to clips: give --clips (sora clips index makes it)"
            )
        if manifest is not None and config.world_share < 1:
            self._manifest, self._clips = captioned(manifest)

    @property
    def broken(self) -> int:
        """Clips that could not be decoded and are left out from then on."""
        return len(self._broken)

    def texts(self) -> Iterator[str]:
        """Captions to learn tokens from: of every clip, and of every scene of the world a few."""
        yield from (clip.caption for clip in self._clips)
        if self.config.world_share == 0:
            return
        rng = random.Random(f"caption texts {self.config.world_seed}")
        for index in range(self.config.scenes):
            scene = sample_scene(self.config.world_seed, index)
            for style in ("short", "long"):
                for moving in (True, False):
                    yield caption_scene(scene, style=style, moving=moving, rng=rng, contact=rng.random() < 0.5)

    def sample(self, generator: torch.Generator, stage: CaptionStage) -> CaptionSample:
        """Draw one sample; ``generator`` decides everything."""
        rng = random.Random(int(torch.randint(2**62, (1,), generator=generator)))
        from_world = not self._clips or rng.random() < self.config.world_share
        frames, times, caption = self._world(rng, stage) if from_world else self._clip(rng, stage)
        worse = {name: self.config.degrade * value for name, value in _WORST.items()}
        pixels = frames.permute(0, 3, 1, 2).float() / 255
        if self.config.degrade:
            pixels = degrade_frames(pixels, generator, **worse)
        return CaptionSample(2 * pixels - 1, times, caption)

    def _world(self, rng: random.Random, stage: CaptionStage) -> tuple[Tensor, Tensor, str]:
        config = self.config
        strides = (config.scene_frames - 1) // max(1, stage.num_frames - 1)
        while True:
            clip = read_scene_clip(
                self.scenes,
                config.world_seed,
                "train",
                rng.randrange(config.scenes),
                num_frames=stage.num_frames,
                seconds_between=config.seconds_between,
                stride=rng.randint(1, strides) if stage.num_frames > 1 else 1,
                mirror=rng.random() < 0.5,
            )
            if clip is not None:
                break
        style: Style = "short" if rng.random() < stage.short_share else "long"
        return clip.frames, clip.times, clip.caption(style, rng)

    def _clip(self, rng: random.Random, stage: CaptionStage) -> tuple[Tensor, Tensor, str]:
        while len(self._broken) < len(self._clips):
            number = rng.randrange(len(self._clips))
            found = self._read(number)
            if found is None:
                continue
            frames, times = found
            shown = len(frames) if stage.num_frames > 1 else 1
            picked, moments = spread(frames[:shown], times[:shown], stage.num_frames)
            if len(picked) < stage.num_frames:  # a picture among videos stands still
                picked, moments = picked.repeat(stage.num_frames, 0), torch.zeros(stage.num_frames)
            opaque = compose_over_random(picked, rng.randrange(2**31))[0]
            return torch.from_numpy(np.ascontiguousarray(opaque)), moments, self._clips[number].caption
        raise DataError("none of the clips can be decoded; sora clips index tells what is wrong with each")

    def _read(self, number: int) -> tuple[Frames, list[float]] | None:
        if number in self._kept:
            return self._kept[number]
        if number in self._broken or self._manifest is None:
            return None
        longest = max(stage.num_frames for stage in self.config.stages)
        try:
            found = even_frames(
                self._manifest,
                self._clips[number],
                longest,
                size=(self.side, self.side),
                fit="pad",
                background=None,
            )
        except DataError:
            self._broken.add(number)
            return None
        self._kept[number] = found
        self._kept_bytes += found[0].nbytes
        while self._kept_bytes > self.config.memory_gib * 2**30 and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1][0].nbytes
        return found
