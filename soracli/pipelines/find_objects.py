"""Which objects a video shows, and where in the whole of its frame: the judge's maps, square after square."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from soracli.metrics.framing import ShownObjects
from soracli.metrics.obedience import ObjectWords
from soracli.metrics.tracks import track_objects
from soracli.models.judge import Judge
from soracli.pipelines.judge import picked_frames, scaled_square


@torch.no_grad()
def find_objects(judge: Judge, frames: Tensor, fps: float) -> ShownObjects:
    """Find the objects of a video's first seconds.

    A judge sees squares. A frame that is longer one way is looked at in squares that overlap by half or more, and every
    pixel is taken from the square whose middle is nearest.

    Args:
        judge: A trained judge.
        frames: ``(T, H, W, 3)`` uint8 of any aspect.
        fps: Frames a second.

    Returns:
        Colour, shape and size of each object, its pixels on maps of half the judge's side, and the logarithm of its
        distance, at the frames that the judge looks at.

    Raises:
        DataError: If the video is too short to be judged.
    """
    config = judge.config
    device = next(judge.parameters()).device
    chosen = frames[picked_frames(judge, len(frames), fps)]
    height, width = chosen.shape[1:3]
    short, is_wide = min(height, width), width > height
    starts = square_starts(max(height, width), short)
    squares = [scaled_square(judge, chosen, 0 if is_wide else start, start if is_wide else 0) for start in starts]
    maps = judge.look(torch.stack(squares).to(device))

    side = config.side // 2
    offsets = [round(start * side / short) for start in starts]
    axis = -1 if is_wide else -2
    centre = maps.centre.cpu()  # (B, T, 2, M, M)
    for number, offset in enumerate(offsets):
        # From the square's middle to the frame's.
        centre[number, :, 0 if is_wide else 1] += (2 * offset - offsets[-1]) / side
    there, colour, centre, shape, size, depth = (
        joined(list(parts), offsets, axis)
        for parts in (
            maps.there.sigmoid().cpu(),
            maps.colour.softmax(2).cpu(),
            centre,
            maps.shape.log_softmax(2).cpu(),
            maps.size.log_softmax(2).cpu(),
            maps.depth.cpu(),
        )
    )
    member, colours = track_objects(there, colour, centre)  # (T, N, h, w)
    weight = member.float()
    shapes, sizes = (torch.einsum("tnyx,tcyx->nc", weight, votes).argmax(1) for votes in (shape, size))
    return ShownObjects(
        words=tuple(
            ObjectWords(colour=config.colours[named], shape=config.shapes[form], size=config.sizes[extent])
            for named, form, extent in zip(colours, shapes.tolist(), sizes.tolist(), strict=True)
        ),
        member=member,
        depth=torch.einsum("tnyx,tyx->tn", weight, depth) / weight.sum((2, 3)),
    )


def square_starts(long: int, short: int) -> list[int]:
    """Where squares of side ``short`` begin that cover ``long`` pixels evenly and overlap by half or more."""
    steps = math.ceil(2 * (long - short) / short)
    return [round(number * (long - short) / max(1, steps)) for number in range(steps + 1)]


def joined(parts: list[Tensor], starts: list[int], axis: int) -> Tensor:
    """Overlapping maps of one side as one: each place along ``axis`` from the part whose middle is nearest.

    Args:
        parts: Equal in shape.
        starts: Where each begins, rising.
        axis: The one that they follow each other on.
    """
    side = parts[0].shape[axis]
    edges = [starts[0], *((one + two + side) // 2 for one, two in pairwise(starts))]
    edges.append(starts[-1] + side)
    return torch.cat(
        [
            part.narrow(axis, begin - start, end - begin)
            for part, start, (begin, end) in zip(parts, starts, pairwise(edges), strict=True)
        ],
        axis,
    )
