"""What a world video shows, in words: the judge's network, its tracks and its answers put together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from soracli.core.errors import DataError
from soracli.metrics.obedience import ObjectWords, SceneWords
from soracli.metrics.tracks import track_objects
from soracli.models.judge import Judge

_FEWEST_FRAMES = 4


def judge_video(judge: Judge, frames: Tensor, fps: float) -> SceneWords:
    """Say what a video shows in its first seconds.

    Args:
        judge: A trained judge.
        frames: ``(T, H, W, 3)`` uint8; of a frame that is not square the middle square is looked at.
        fps: Frames a second.

    Returns:
        Objects with colour, shape, size and first motion, the most seen first; ground and camera; ``count`` is how
        many objects there are.

    Raises:
        DataError: If the video is too short to tell motion.
    """
    return judge_frames(judge, judge_input(judge, frames, fps))


def judge_input(judge: Judge, frames: Tensor, fps: float) -> Tensor:
    """The frames that a judge looks at, ``(T, 3, S, S)`` in [-1, 1], of a video as ``judge_video`` takes it.

    Raises:
        DataError: If there are fewer than four.
    """
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return scaled_square(judge, frames[picked_frames(judge, len(frames), fps)], top, left)


def picked_frames(judge: Judge, num_frames: int, fps: float) -> list[int]:
    """Numbers of the frames that a judge looks at, of so many.

    Raises:
        DataError: If there are fewer than four.
    """
    config = judge.config
    wanted = [round(number * config.seconds_between * fps) for number in range(config.num_frames)]
    picked = [number for number in wanted if number < num_frames]
    if len(picked) < _FEWEST_FRAMES:
        needed = (_FEWEST_FRAMES - 1) * config.seconds_between
        raise DataError(
            f"a video of {num_frames} frames at {fps:g} fps is too short to be judged: it needs more than {needed:g} s"
        )
    return picked


def scaled_square(judge: Judge, frames: Tensor, top: int, left: int) -> Tensor:
    """``(T, 3, S, S)`` in [-1, 1], what a judge sees of frames ``(T, H, W, 3)`` uint8: one square of them.

    Args:
        judge: S is its side.
        frames: The square's side is the shorter of theirs.
        top: First row of the square.
        left: First column of it.
    """
    side, wanted = min(frames.shape[1:3]), judge.config.side
    square = frames[:, top : top + side, left : left + side].permute(0, 3, 1, 2).float() / 127.5 - 1
    if side == wanted:
        return square
    if side > wanted:
        return functional.interpolate(square, (wanted, wanted), mode="area")
    return functional.interpolate(square, (wanted, wanted), mode="bilinear", align_corners=False)


@torch.no_grad()
def judge_frames(judge: Judge, frames: Tensor) -> SceneWords:
    """Say what the frames show that ``judge_input`` picked, ``(T, 3, S, S)`` in [-1, 1]."""
    config = judge.config
    device = next(judge.parameters()).device
    maps = judge.look(frames[None].to(device))
    colour, shape = maps.colour[0].softmax(1).cpu(), maps.shape[0].log_softmax(1).cpu()
    member, colours = track_objects(maps.there[0].sigmoid().cpu(), colour, maps.centre[0].cpu())
    ground, camera = (int(logits[0].argmax()) for logits in (maps.ground, maps.camera))
    objects: list[ObjectWords] = []
    if colours:
        motion, size = judge.follow(maps, member[None].to(device))
        shapes = torch.einsum("tnyx,tcyx->nc", member.float(), shape).argmax(1)
        for number, named in enumerate(colours):
            objects.append(
                ObjectWords(
                    colour=config.colours[named],
                    shape=config.shapes[int(shapes[number])],
                    size=config.sizes[int(size[0, number].argmax())],
                    motion=config.motions[int(motion[0, number].argmax())],
                )
            )
    return SceneWords(
        objects=tuple(objects), ground=config.grounds[ground], camera=config.cameras[camera], count=len(objects)
    )
