"""The judge: a small network that says what a world video shows, trained on renders, apart from every generator.

``look`` reads each frame by itself into maps at half the side: is there an object, which colour, shape and size, where
is its middle and how far away; and reads all frames together for the ground and the camera's way. Which pixels are one
object is decided outside (``soracli.metrics.tracks``); ``follow`` then puts each object's path back into the arena with
the camera's own pose and says how it moves.

Axes: B videos, T frames, S side, M = S / 2 side of the maps, N objects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.config import JudgeConfig
from soracli.models.layers.causal import Kernel, PositionNorm

FEWEST_PIXELS = 3
"""Pixels of the map that an object must show in a frame to be measured there."""
_SQUEEZED = 8


@dataclass(frozen=True)
class JudgeMaps:
    """What is seen, before pixels are joined to objects.

    Attributes:
        there: ``(B, T, M, M)`` logit of there being an object.
        colour: ``(B, T, colours, M, M)`` logits.
        shape: ``(B, T, shapes, M, M)`` logits.
        size: ``(B, T, sizes, M, M)`` logits.
        centre: ``(B, T, 2, M, M)`` where the object's middle is, to the right and down from the frame's middle, in half
            sides.
        depth: ``(B, T, M, M)`` logarithm of the object's distance over the arena's.
        pose: ``(B, T, 3)`` camera's azimuth and pan (radians) and the share of its distance that is closed.
        ground: ``(B, grounds)`` logits.
        camera: ``(B, cameras)`` logits.
    """

    there: Tensor
    colour: Tensor
    shape: Tensor
    size: Tensor
    centre: Tensor
    depth: Tensor
    pose: Tensor
    ground: Tensor
    camera: Tensor


class _Block(nn.Module):
    """Residual: normalise, convolve, once or twice."""

    def __init__(self, width: int, num_convolutions: int) -> None:
        super().__init__()
        self.norm = PositionNorm(width)
        self.convolutions = nn.ModuleList(Kernel(width, width, 3) for _ in range(num_convolutions))

    def forward(self, features: Tensor) -> Tensor:
        inside = self.norm(features)
        for convolution in self.convolutions:
            inside = convolution(functional.silu(inside))
        return features + inside


class _TimeBlock(nn.Module):
    """Residual over frames: each frame is mixed with those ``reach`` before and after it; none are zeros."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(3 * width, width)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, T, C)`` to the same shape."""
        num_frames = features.shape[1]
        padded = functional.pad(self.norm(features), (0, 0, self.reach, self.reach))
        around = [padded[:, start : start + num_frames] for start in (0, self.reach, 2 * self.reach)]
        return features + functional.silu(self.mix(torch.cat(around, -1)))


class Judge(nn.Module):
    """Looks at frames, then follows objects."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse = config.widths
        self.fields = (1, len(config.colours), len(config.shapes), len(config.sizes), 2, 1)
        self.stem = nn.Conv2d(3, fine, 4, stride=4)
        self.fine = _Block(fine, 1)
        self.to_middle = Kernel(fine, middle, 3, stride=2)
        self.middle = _Block(middle, 2)
        self.to_coarse = Kernel(middle, coarse, 3, stride=2)
        self.coarse = _Block(coarse, 2)
        self.coarse_to_middle = Kernel(coarse, middle)
        self.middle_again = _Block(middle, 1)
        self.middle_to_fine = Kernel(middle, fine)
        self.fine_again = _Block(fine, 1)
        self.head_maps = Kernel(fine, 4 * sum(self.fields))

        cells = (config.side // 16) ** 2
        self.squeeze_norm = PositionNorm(coarse)
        self.squeeze = Kernel(coarse, _SQUEEZED)
        self.scene_in = nn.Linear(_SQUEEZED * cells, config.scene_width)
        self.scene_time = nn.Sequential(*(_TimeBlock(config.scene_width, reach) for reach in (1, 2, 4)))
        self.head_pose = nn.Linear(config.scene_width, 3)
        self.head_scene = nn.Linear(config.scene_width, len(config.grounds) + len(config.cameras))

        measured = 3 + 2 + 1 + len(config.sizes) + 3 + 1
        self.track_in = nn.Linear(3 * measured, config.track_width)
        self.track_time = nn.Sequential(*(_TimeBlock(config.track_width, reach) for reach in (1, 2, 4)))
        self.head_track = nn.Linear(2 * config.track_width, len(config.motions) + len(config.sizes))

    def look(self, frames: Tensor) -> JudgeMaps:
        """See what is in each frame, and what the ground and the camera are.

        Args:
            frames: ``(B, T, 3, S, S)`` in [-1, 1], ``config.seconds_between`` apart.
        """
        videos, num_frames = frames.shape[:2]
        config = self.config
        pictures = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        fine = self.fine(self.stem(pictures).movedim(1, -1))  # (B T, S/4, S/4, fine)
        middle = self.middle(self.to_middle(fine))  # (B T, S/8, S/8, middle)
        coarse = self.coarse(self.to_coarse(middle))  # (B T, S/16, S/16, coarse)

        middle = self.middle_again(middle + _twice_as_large(self.coarse_to_middle(coarse)))  # (B T, S/8, S/8, middle)
        fine = self.fine_again(fine + _twice_as_large(self.middle_to_fine(middle)))  # (B T, S/4, S/4, fine)
        maps = rearrange(
            self.head_maps(fine), "(b t) h w (c p q) -> b t c (h p) (w q)", b=videos, p=2, q=2
        )  # (B, T, fields, S/2, S/2)
        there, colour, shape, size, offset, depth = maps.split(self.fields, dim=2)

        glance = functional.silu(self.squeeze(self.squeeze_norm(coarse))).movedim(-1, 1).flatten(1)
        known = functional.silu(self.scene_in(glance)).unflatten(0, (videos, num_frames))
        known = self.scene_time(known)  # (B, T, scene_width)
        words = self.head_scene(known.mean(1))
        return JudgeMaps(
            there=there[:, :, 0],
            colour=colour,
            shape=shape,
            size=size,
            centre=_grid(maps.shape[-1], maps) + 0.3 * offset,
            depth=0.3 * depth[:, :, 0],
            pose=0.3 * self.head_pose(known),
            ground=words[:, : len(config.grounds)],
            camera=words[:, len(config.grounds) :],
        )

    def follow(self, maps: JudgeMaps, member: Tensor) -> tuple[Tensor, Tensor]:
        """Say how objects move and how large they are.

        Args:
            maps: What ``look`` saw; used as measurements, without gradient.
            member: ``(B, T, N, M, M)`` 1 where a pixel belongs to an object, else 0.

        Returns:
            Logits of motions ``(B, N, motions)`` and sizes ``(B, N, sizes)``.
        """
        measured = self._measure(maps, member.to(maps.there.dtype)).detach()
        videos, objects = measured.shape[:2]
        steps = functional.pad(measured, (0, 0, 1, 0))[:, :, :-1] - measured, measured - measured[:, :, :1]
        tracks = functional.silu(self.track_in(torch.cat([measured, *steps], -1).flatten(0, 1)))
        tracks = self.track_time(tracks)  # (B N, T, track_width)
        summary = torch.cat([tracks.mean(1), tracks.amax(1)], 1)
        words = self.head_track(summary).unflatten(0, (videos, objects))
        motion, size = words.split([len(self.config.motions), len(self.config.sizes)], dim=-1)
        return motion, size

    def _measure(self, maps: JudgeMaps, member: Tensor) -> Tensor:
        """``(B, N, T, features)``: each object's place in the arena and in the frame at each frame, 0 where unseen."""
        area = member.sum((3, 4))  # (B, T, N)
        stack = torch.cat([maps.centre, maps.depth[:, :, None], maps.size.softmax(2)], 2)
        means = torch.einsum("btnyx,btcyx->btnc", member, stack) / area[..., None].clamp(min=1)
        pose = maps.pose[:, :, None].expand(-1, -1, means.shape[2], -1)
        place = self._arena_place(means[..., :3], pose)
        seen = (area >= FEWEST_PIXELS)[..., None].to(means.dtype)
        features = torch.cat([place, means, pose], -1) * seen
        return torch.cat([features, seen], -1).transpose(1, 2)

    def _arena_place(self, centre: Tensor, pose: Tensor) -> Tensor:
        """Where in the arena (x, y, z) something is that a camera of this pose sees at (right, down, log distance)."""
        config = self.config
        azimuth, pan, closed = pose.unbind(-1)
        heading, level, rise = azimuth - pan, math.cos(config.camera_elevation), math.sin(config.camera_elevation)
        distance = config.camera_distance * (1 - closed)
        ahead = config.camera_distance * centre[..., 2].exp()
        across, above = (
            ahead * config.camera_field * centre[..., 0],
            -ahead * config.camera_field * centre[..., 1],
        )
        # Along the ground away from the camera: the line of sight tilts down by the elevation, up tilts away by it.
        along = ahead * level + above * rise
        x = distance * level * azimuth.sin() + across * heading.cos() - along * heading.sin()
        z = distance * level * azimuth.cos() - across * heading.sin() - along * heading.cos()
        y = config.camera_target + distance * rise - ahead * rise + above * level
        return torch.stack([x, y, z], -1)


def _twice_as_large(features: Tensor) -> Tensor:
    """``(N, H, W, C)`` to ``(N, 2 H, 2 W, C)``, each position four times."""
    return features.repeat_interleave(2, 1).repeat_interleave(2, 2)


def _grid(side: int, like: Tensor) -> Tensor:
    """``(2, M, M)`` places of pixels to the right and down from the middle, in half sides."""
    place = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) * (2 / side) - 1
    return torch.stack([place.expand(side, side), place[:, None].expand(side, side)])
