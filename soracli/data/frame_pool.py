"""What a VAE is shown: crops of world scenes and of clips, drawn by (seed, step, sample).

Axes: T frames, H rows, W columns. Decoded clips stay in memory up to a cap, because one clip gives many crops and
decoding or drawing it costs more than a crop is worth. Clips with transparency get another background every time.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from soracli.core.errors import DataError
from soracli.data.compose import compose_over_random
from soracli.data.config import FramesConfig, FrameShape
from soracli.data.manifest import Clip, Manifest, read_manifest
from soracli.data.video_read import read_frames
from soracli.data.world.clips import world_frames

_WORLD_STARTS = 3.0
"""World clips begin somewhere in the first seconds of their scene."""


def draw_shape(config: FramesConfig, step: int, generator: torch.Generator) -> FrameShape:
    """The kind of samples of one step, by the weights of those that are due."""
    due = [shape for shape in config.shapes if shape.is_due(step)]
    weights = torch.tensor([shape.weight for shape in due])
    return due[int(torch.multinomial(weights, 1, generator=generator))]


class FramePool:
    """Decoded clips of the world and of a manifest, read when first asked for."""

    def __init__(self, config: FramesConfig, manifest: Path | None) -> None:
        """Look at the manifest; nothing is decoded yet. Without one every sample comes from the world.

        Raises:
            DataError: If the recipe wants clips alone and there is no manifest, or it has none to train on.
        """
        self.config = config
        self._kept: OrderedDict[tuple[str, int], Tensor] = OrderedDict()
        self._kept_bytes = 0
        self._broken: set[int] = set()
        self._clips: list[Clip] = []
        self._manifest: Manifest | None = None
        if manifest is None and config.world_share == 0:
            raise DataError(
                "frames.world_share = 0 leaves all samples to clips: give --clips (sora clips index makes it)"
            )
        if manifest is not None and config.world_share < 1:
            self._manifest = read_manifest(manifest)
            self._clips = [clip for clip in self._manifest.clips if clip.split == "train"]
            if not self._clips:
                raise DataError(f"{manifest}: no clip of the split 'train'")

    @property
    def broken(self) -> int:
        """Clips that could not be decoded and are left out from then on."""
        return len(self._broken)

    def sample(self, generator: torch.Generator, num_frames: int, crop: int) -> Tensor:
        """Draw one crop.

        Args:
            generator: Decides everything.
            num_frames: T; shorter clips are run forth and back.
            crop: Its side, pixels; at most the height and the width of the recipe.

        Returns:
            ``(3, T, crop, crop)`` float32 in [-1, 1].
        """
        config = self.config
        from_world = not self._clips or _uniform(generator) < config.world_share
        while True:
            count = config.world_scenes if from_world else len(self._clips)
            number = _integer(generator, count)
            frames = self._world(number) if from_world else self._clip(number)
            if frames is not None:
                break
            if len(self._broken) == len(self._clips):
                raise DataError("none of the clips can be decoded; sora clips index tells what is wrong with each")
        start = _integer(generator, max(1, len(frames) - num_frames + 1))
        index = (start + torch.arange(num_frames)) % max(1, 2 * len(frames) - 2)
        index = torch.where(index < len(frames), index, 2 * len(frames) - 2 - index)
        piece = self._busiest_crop(frames[index], crop, generator)
        if piece.shape[-1] == 4:
            piece = torch.from_numpy(compose_over_random(piece.numpy(), _integer(generator, 2**31))[0])
        return piece.permute(3, 0, 1, 2).float() / 127.5 - 1

    def _busiest_crop(self, frames: Tensor, side: int, generator: torch.Generator) -> Tensor:
        """Of a few random squares the one with the most contrast in its middle frame."""
        middle = frames[len(frames) // 2].float()
        best, best_contrast = frames[:, :side, :side], -1.0
        for _ in range(self.config.crop_candidates):
            top = _integer(generator, frames.shape[1] - side + 1)
            left = _integer(generator, frames.shape[2] - side + 1)
            contrast = float(middle[top : top + side, left : left + side].std((0, 1)).sum())
            if contrast > best_contrast:
                best, best_contrast = frames[:, top : top + side, left : left + side], contrast
        return best

    def _world(self, number: int) -> Tensor:
        def draw() -> Tensor:
            config = self.config
            start = _WORLD_STARTS * (number * 0.6180339887 % 1)
            return world_frames(
                config.world_seed,
                number,
                num_frames=config.longest,
                fps=config.fps,
                height=config.height,
                width=config.width,
                start=start,
                samples=4,
            )[0]

        kept = self._kept.get(("world", number))
        return kept if kept is not None else self._keep(("world", number), draw())

    def _clip(self, number: int) -> Tensor | None:
        kept = self._kept.get(("clip", number))
        if kept is not None or number in self._broken:
            return kept
        assert self._manifest is not None
        clip, config = self._clips[number], self.config
        rate = min(config.fps, clip.fps)
        try:
            frames = read_frames(
                self._manifest.locate(clip),
                start=clip.start,
                num_frames=max(1, int(clip.seconds * rate)),
                fps=rate,
                size=_shorter_side_to(clip, config.height, config.width),
                background=None,
            )
        except DataError:
            self._broken.add(number)
            return None
        opaque = bool((frames[..., 3] == 255).all())
        return self._keep(("clip", number), torch.from_numpy(frames[..., :3].copy() if opaque else frames))

    def _keep(self, key: tuple[str, int], frames: Tensor) -> Tensor:
        self._kept[key] = frames
        self._kept_bytes += frames.nbytes
        while self._kept_bytes > self.config.memory_gib * 2**30 and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return frames


def _shorter_side_to(clip: Clip, height: int, width: int) -> tuple[int, int]:
    """Size of a clip scaled so that it just covers the frame asked for, its aspect kept."""
    scale = max(height / clip.height, width / clip.width)
    return max(height, round(clip.height * scale)), max(width, round(clip.width * scale))


def _integer(generator: torch.Generator, count: int) -> int:
    return int(torch.randint(count, (1,), generator=generator))


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand(1, generator=generator))
