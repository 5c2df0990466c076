"""From maps of what each pixel shows to objects followed over frames.

Every pixel of an object says which colour it has and where its object's middle is; pixels of one colour whose middles
agree are one object, also when another one stands in front and cuts it in two. Objects of one colour are followed from
frame to frame by the nearest expected place.

Axes: T frames, M sides of the maps, which need not be equal; places in half shorter sides of the frame, to the right
and down from its middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

THRESHOLD = 0.8
"""Probability of an object from which on a pixel counts; above a half, because losses favour pixels of objects."""
FEWEST_PIXELS = 9
"""Pixels of one frame, on maps of 64x64, that make an object there."""
REACH = 0.15
"""How far votes for the middle of one object lie apart; grows with the object's own size, see ``_group``."""
MOST_OF_ONE_COLOUR = 6
"""Objects of one colour that are told apart in a frame."""
_CELL = 0.05
_FARTHEST = 1.5
"""Votes beyond this many half sides of a square count there."""
GATE = 0.8
"""How far from where it was, or where it was going, an object may be found in the next frame: bounces are fast."""
FEWEST_FRAMES = 4
"""Frames that an object must be seen in, or all of a shorter video."""
FEWEST_MEAN_PIXELS = 16
"""Pixels, on maps of 64x64, that an object must have on average where it is seen."""


@dataclass
class _Track:
    colour: int
    places: list[tuple[int, Tensor]] = field(default_factory=list)
    members: dict[int, Tensor] = field(default_factory=dict)

    def distance(self, frame: int, middle: Tensor) -> float:
        """How far ``middle`` is from where it was last, or from where it was going, whichever is less."""
        last, place = self.places[-1]
        places = [place]
        if len(self.places) > 1 and frame - last <= 2:
            before, former = self.places[-2]
            places.append(place + (place - former) * ((frame - last) / (last - before)))
        return min(float((middle - other).norm()) for other in places)

    def pixels(self) -> int:
        """Pixels in all frames."""
        return sum(int(member.sum()) for member in self.members.values())


def track_objects(there: Tensor, colour: Tensor, centre: Tensor) -> tuple[Tensor, list[int]]:
    """Join pixels to objects and follow them.

    Args:
        there: ``(T, M, M)`` probability of an object.
        colour: ``(T, colours, M, M)`` probabilities of its colour.
        centre: ``(T, 2, M, M)`` where its middle is.

    Returns:
        Which pixels each of the N objects has, ``(T, N, M, M)`` bool, and the number of each one's colour; the most
        seen first.
    """
    tracks: list[_Track] = []
    scale = (min(there.shape[1:]) / 64) ** 2
    for frame in range(len(there)):
        found = _objects_in_frame(there[frame], colour[frame], centre[frame], scale)
        _extend(tracks, found, frame)
    enough = min(FEWEST_FRAMES, len(there))
    kept = [
        track
        for track in tracks
        if len(track.members) >= enough and track.pixels() >= FEWEST_MEAN_PIXELS * scale * len(track.members)
    ]
    kept.sort(key=lambda track: -track.pixels())
    member = torch.zeros(len(there), len(kept), *there.shape[1:], dtype=torch.bool)
    for number, track in enumerate(kept):
        for frame, pixels in track.members.items():
            member[frame, number] = pixels
    return member, [track.colour for track in kept]


def _objects_in_frame(there: Tensor, colour: Tensor, centre: Tensor, scale: float) -> list[tuple[int, Tensor, Tensor]]:
    """Colour, middle ``(2,)`` and pixels ``(M, M)`` of every object in one frame."""
    shown = there > THRESHOLD
    named = colour.argmax(0)
    # A pixel is believed when most of the object's pixels around it say the same: edges blend two colours.
    votes = functional.one_hot(named, len(colour)).permute(2, 0, 1).float() * shown * colour
    smooth = functional.avg_pool2d(votes[None], 3, stride=1, padding=1)[0]
    named = smooth.argmax(0)
    found = []
    for number in named[shown].unique().tolist():
        for middle, pixels in _group(shown & (named == number), centre, scale):
            found.append((int(number), middle, pixels))
    return _without_fragments(found)


def _without_fragments(found: list[tuple[int, Tensor, Tensor]]) -> list[tuple[int, Tensor, Tensor]]:
    """Give small groups that lie in a larger one to it: its own stray votes, or its edge in a blended colour."""
    kept: list[tuple[int, Tensor, Tensor]] = []
    for colour, middle, pixels in sorted(found, key=lambda entry: -int(entry[2].sum())):
        area = int(pixels.sum())
        for number, (other, place, taken) in enumerate(kept):
            whole = int(taken.sum())
            radius = 2 * (whole / math.pi) ** 0.5 / min(taken.shape)
            apart = float((middle - place).norm())
            own = colour == other and area < 0.5 * whole and apart < max(1.5 * REACH, radius)
            edge = colour != other and area < 0.15 * whole and apart < 0.1
            if own or edge:
                kept[number] = (other, place, taken | pixels)
                break
        else:
            kept.append((colour, middle, pixels))
    return kept


def _group(left: Tensor, centre: Tensor, scale: float) -> list[tuple[Tensor, Tensor]]:
    """Split pixels of one colour into objects by their votes for a middle: the densest place first."""
    groups: list[tuple[Tensor, Tensor]] = []
    rows, columns = left.nonzero(as_tuple=True)
    votes = centre[:, rows, columns].T
    farthest = _FARTHEST * max(left.shape) / min(left.shape)
    while len(rows) >= FEWEST_PIXELS * scale and len(groups) < MOST_OF_ONE_COLOUR:
        middle = _densest(votes, farthest)
        near = (votes - middle).norm(dim=-1) < REACH
        middle = votes[near].mean(0)
        # A large object's votes are further apart, so its reach grows with its area.
        reach = max(REACH, 0.6 * (float(near.sum()) / scale) ** 0.5 / 32)
        taken = (votes - middle).norm(dim=-1) < reach
        if int(taken.sum()) < FEWEST_PIXELS * scale:
            break
        pixels = torch.zeros_like(left)
        pixels[rows[taken], columns[taken]] = True
        groups.append((middle, pixels))
        rows, columns, votes = rows[~taken], columns[~taken], votes[~taken]
    return groups


def _densest(votes: Tensor, farthest: float) -> Tensor:
    """The mean ``(2,)`` of the votes ``(n, 2)`` in the fullest 3x3 cells of a coarse grid up to ``farthest``."""
    cells = ((votes.clamp(-farthest, farthest) + farthest) / _CELL).long()
    side = round(2 * farthest / _CELL) + 1
    counts = torch.bincount(cells[:, 0] * side + cells[:, 1], minlength=side * side).view(1, 1, side, side)
    around = functional.avg_pool2d(counts.float(), 3, stride=1, padding=1).flatten()
    best = int(around.argmax())
    inside = ((cells[:, 0] - best // side).abs() <= 1) & ((cells[:, 1] - best % side).abs() <= 1)
    return votes[inside].mean(0)


def _extend(tracks: list[_Track], found: list[tuple[int, Tensor, Tensor]], frame: int) -> None:
    """Give each object of a frame to the track of its colour that expects it nearest, or begin a track."""
    pairs = sorted(
        (track.distance(frame, middle), row, column)
        for row, track in enumerate(tracks)
        for column, (colour, middle, _) in enumerate(found)
        if colour == track.colour
    )
    used_tracks: set[int] = set()
    used_found: set[int] = set()
    for distance, row, column in pairs:
        gate = GATE * (1 + 0.5 * (frame - tracks[row].places[-1][0] - 1))
        if distance < gate and row not in used_tracks and column not in used_found:
            used_tracks.add(row)
            used_found.add(column)
            tracks[row].places.append((frame, found[column][1]))
            tracks[row].members[frame] = found[column][2]
    for column, (colour, middle, pixels) in enumerate(found):
        if column not in used_found:
            tracks.append(_Track(colour, [(frame, middle)], {frame: pixels}))
