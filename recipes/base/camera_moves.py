"""Where a camera looks while it moves over a photograph, and where things go that move in front of it.

Everything is drawn from a NumPy generator and depends on nothing else. Positions are in pixels of the photograph, x to
the right and y down; widths are those of the view, in pixels of the photograph; angles are in radians, clockwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOVES = ("pan", "zoom", "turn", "hold")
_MOVE_SHARES = (0.5, 0.25, 0.15, 0.1)
_DIRECTION_SHARES = (0.3, 0.3, 0.1, 0.1, 0.2)  # right, left, down, up, any


@dataclass(frozen=True)
class View:
    """A camera over a photograph.

    Attributes:
        x, y: Middle of the view at each moment, ``(T,)``.
        width: Width of the view.
        angle: Its rotation.
        words: What the camera does, such as "the camera pans left".
    """

    x: Array
    y: Array
    width: Array
    angle: Array
    words: str


@dataclass(frozen=True)
class Path2D:
    """A thing in front of the camera.

    Attributes:
        x, y: Its middle, in shares of the frame's width and height, ``(T,)``.
        width: Its width, as a share of the frame's.
        angle: Its rotation.
        words: Where it goes: "moves left", "moves right", "rises", "sinks" or "stands".
    """

    x: Array
    y: Array
    width: Array
    angle: Array
    words: str


def draw_view(rng: np.random.Generator, photograph: tuple[int, int], size: tuple[int, int], seconds: Array) -> View:
    """A camera move that never leaves the photograph and never needs more pixels than it has.

    Args:
        rng: Where it is drawn from.
        photograph: ``(W, H)`` of the photograph, at least as large as ``size``.
        size: ``(W, H)`` of the clip.
        seconds: Moments, ``(T,)``, rising from 0.
    """
    share = _eased(rng, seconds / max(seconds[-1], 1e-9))
    move = str(rng.choice(MOVES, p=_MOVE_SHARES))
    turn = math.radians(rng.uniform(8, 40)) * rng.choice((-1, 1)) if move == "turn" else 0.0
    angle = (share - 0.5) * turn + math.radians(rng.normal(0, 1.5))
    # The widest view that fits upright or turned by as much as it will be; hand movement takes the rest.
    widest = 0.95 * _widest(photograph, size, float(np.abs(angle).max()))
    narrowest = min(widest, max(size[0], 0.15 * widest))
    ratio = rng.uniform(1.25, 2.2) if move == "zoom" else rng.uniform(1.0, 1.05)
    ratio = min(ratio, widest / narrowest)
    first = narrowest * (widest / narrowest / ratio) ** math.sqrt(rng.uniform())
    inwards = bool(rng.integers(2))
    width = first * ratio ** (1 - share if inwards else share)
    travel = (rng.uniform(0.15, 1.6) if move == "pan" else rng.uniform(0, 0.15)) * float(width.mean())
    direction = rng.choice(
        (0.0, math.pi, math.pi / 2, -math.pi / 2, rng.uniform(-math.pi, math.pi)), p=_DIRECTION_SHARES
    )
    x, y = _line(
        rng, photograph, size, width, angle, (travel * math.cos(direction), travel * math.sin(direction)), share
    )
    if move == "hold" or rng.uniform() < 0.3:
        shake = rng.uniform(0.002, 0.012) * width
        x, y = x + shake * _tremor(rng, seconds), y + shake * _tremor(rng, seconds)
        angle = angle + math.radians(rng.uniform(0.1, 0.6)) * _tremor(rng, seconds)
        width = np.minimum(width, _widest(photograph, size, float(np.abs(angle).max())))
    x, y = _kept_inside(x, y, photograph, size, width, angle)
    return View(x, y, width, angle, _view_words(move, x, y, inwards, turn))


def draw_path(rng: np.random.Generator, seconds: Array, view: View, size: tuple[int, int], largest: float) -> Path2D:
    """The way of a thing in front of a photograph: its own movement, and 0.2 to 1.2 times that of the ground behind it.

    Above 1 it is nearer than the ground, below 1 it goes along with the camera.

    Args:
        rng: Where it is drawn from.
        seconds: Moments, ``(T,)``.
        view: The camera.
        size: ``(W, H)`` of the clip.
        largest: Width it may have at most, as a share of the frame's.
    """
    share = _eased(rng, seconds / max(seconds[-1], 1e-9))
    width = rng.uniform(0.5, 1.0) * largest * rng.uniform(0.75, 1.0, size=2)
    nearness = rng.uniform(0.2, 1.2)
    own = rng.uniform(0.2, 1.1) * rng.choice((-1, 0, 1), p=(0.4, 0.2, 0.4))
    lift = rng.normal(0, 0.12)
    x = rng.uniform(0.3, 0.7) + own * (share - 0.5)
    y = rng.uniform(0.4, 0.75) + lift * (share - 0.5)
    middle = len(seconds) // 2
    x = x - nearness * (view.x - view.x[middle]) / view.width
    y = y - nearness * (view.y - view.y[middle]) / (view.width * size[1] / size[0])
    bob = rng.uniform(0, 0.02) * np.sin(2 * math.pi * (rng.uniform(0.4, 1.6) * seconds + rng.uniform()))
    angle = math.radians(rng.normal(0, 3)) + math.radians(rng.normal(0, 8)) * (share - 0.5)
    across, down = float(x[-1] - x[0]), float(y[-1] - y[0])
    if max(abs(across), abs(down)) < 0.08:
        words = "stands"
    elif abs(across) >= abs(down):
        words = "moves right" if across > 0 else "moves left"
    else:
        words = "sinks" if down > 0 else "rises"
    return Path2D(x, y + bob, width[0] + (width[1] - width[0]) * share, angle, words)


def _eased(rng: np.random.Generator, share: Array) -> Array:
    """Share of the way at each share of the time: even, with a soft start, a soft end, or both."""
    kind = int(rng.integers(4))
    if kind == 1:
        return share**2
    if kind == 2:
        return 1 - (1 - share) ** 2
    return share * share * (3 - 2 * share) if kind == 3 else share


def _tremor(rng: np.random.Generator, seconds: Array) -> Array:
    """A hand's tremor: five waves of 0.3 to 3 Hz, slower ones larger, of about unit deviation."""
    hertz = rng.uniform(0.3, 3.0, size=5)
    phase = rng.uniform(0, 2 * math.pi, size=5)
    waves = np.sin(2 * math.pi * hertz * seconds[:, None] + phase) / hertz
    return waves.sum(axis=1) / math.sqrt(float((0.5 / hertz**2).sum()))


def half_extents(size: tuple[int, int], width: Array, angle: Array) -> tuple[Array, Array]:
    """Half width and half height of the upright box around a turned view."""
    height = width * size[1] / size[0]
    cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    return (width * cos + height * sin) / 2, (width * sin + height * cos) / 2


def _widest(photograph: tuple[int, int], size: tuple[int, int], angle: float) -> float:
    across, down = half_extents(size, np.ones(2), np.array([angle, 0.0]))
    return float(min(photograph[0] / (2 * across.max()), photograph[1] / (2 * down.max())))


def _line(
    rng: np.random.Generator,
    photograph: tuple[int, int],
    size: tuple[int, int],
    width: Array,
    angle: Array,
    travel: tuple[float, float],
    share: Array,
) -> tuple[Array, Array]:
    """A straight way of that travel, cut to what fits, anywhere in the photograph."""
    lines = []
    for length, half, way in zip(photograph, half_extents(size, width, angle), travel, strict=True):
        room = length - 2 * float(half.max())
        way = math.copysign(min(abs(way), max(room, 0.0)), way)
        middle = length / 2 + rng.uniform(-0.5, 0.5) * (room - abs(way))
        lines.append(middle + way * (share - 0.5))
    return lines[0], lines[1]


def _kept_inside(
    x: Array, y: Array, photograph: tuple[int, int], size: tuple[int, int], width: Array, angle: Array
) -> tuple[Array, Array]:
    across, down = half_extents(size, width, angle)
    x = np.clip(x, across, np.maximum(photograph[0] - across, across))
    return x, np.clip(y, down, np.maximum(photograph[1] - down, down))


def _view_words(move: str, x: Array, y: Array, inwards: bool, turn: float) -> str:
    if move == "zoom":
        return f"the camera zooms {'in' if inwards else 'out'}"
    if move == "turn":
        # A camera that turns clockwise shows the picture turning the other way.
        return f"the camera turns {'clockwise' if turn > 0 else 'anticlockwise'}"
    if move == "hold":
        return "the camera is held by hand"
    across, down = float(x[-1] - x[0]), float(y[-1] - y[0])
    if abs(across) >= abs(down):
        return f"the camera pans {'right' if across > 0 else 'left'}"
    return f"the camera moves {'down' if down > 0 else 'up'}"
