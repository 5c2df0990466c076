"""What scenes can be: objects, attributes, motions, grounds and cameras, drawn by index.

Axes: x to the right, y up, z towards the camera's first position; lengths in units (a frame shows about 4.4
units of the middle of the arena), time in seconds. A scene is drawn from ``(seed, index)`` alone, so any process
can make any scene. A fixed tenth of the object combinations (size, colour, shape, motion) is held out: it is
never drawn for training and measures whether words compose.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Shape = Literal["ball", "cube", "cone"]
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "white", "black"]
Size = Literal["small", "large"]
Motion = Literal["rest", "left", "right", "towards", "away", "bounce", "fall"]
Ground = Literal["grass", "sand", "snow", "stone"]
Camera = Literal["still", "orbit left", "orbit right", "pan left", "pan right", "move in"]
Split = Literal["train", "held_out", "any"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SIZES: tuple[Size, ...] = get_args(Size)
MOTIONS: tuple[Motion, ...] = get_args(Motion)
GROUNDS: tuple[Ground, ...] = get_args(Ground)
CAMERAS: tuple[Camera, ...] = get_args(Camera)

ARENA = 2.0
"""Half the side of the square arena; its kerb turns objects back, so a scene never runs empty."""
GRAVITY = 4.0
"""Units a second squared."""

RADIUS: dict[Size, tuple[float, float]] = {"small": (0.27, 0.33), "large": (0.56, 0.66)}
"""Smallest and largest radius of each size, units."""
_CAMERA_WEIGHTS = (10, 3, 3, 2, 2, 3)
_CAMERA_RATES = {"orbit": (0.20, 0.35), "pan": (0.12, 0.18), "move": (0.25, 0.35)}
_COUNT_WEIGHTS = (10, 7, 3)
_GLIDES: dict[Motion, tuple[float, float]] = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "towards": (0.0, 1.0),
    "away": (0.0, -1.0),
}


@dataclass(frozen=True)
class SceneObject:
    """One object as it stands at the first frame.

    Attributes:
        radius: Radius of a ball; cubes and cones are scaled to look as large.
        position: Of the lowest point: (x, height above ground, z).
        velocity: Units a second.
        restitution: Share of vertical speed kept at a bounce off the ground.
        yaw: Turn about the vertical axis, radians.
    """

    shape: Shape
    colour: Colour
    size: Size
    motion: Motion
    radius: float
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]
    restitution: float
    yaw: float

    @property
    def combination(self) -> tuple[Size, Colour, Shape, Motion]:
        """The attributes whose combinations are split into trained and held out."""
        return (self.size, self.colour, self.shape, self.motion)


@dataclass(frozen=True)
class Scene:
    """Everything that decides a world video, apart from its size, rate and length.

    Attributes:
        camera_rate: Orbit: radians a second; pan: largest turn in radians; move in: share of the distance closed.
        sun: Azimuth and elevation of the light, radians.
        phase: Shift of the ground's pattern, units.
        sky: How warm the sky is, 0 (blue) to 1 (pale).
    """

    index: int
    objects: tuple[SceneObject, ...]
    ground: Ground
    camera: Camera
    camera_rate: float
    sun: tuple[float, float]
    phase: tuple[float, float]
    sky: float

    @property
    def held_out(self) -> bool:
        """Whether any object is of a combination that is never trained on."""
        return any(item.combination in HELD_OUT for item in self.objects)


def _held_out_combinations() -> frozenset[tuple[Size, Colour, Shape, Motion]]:
    """A tenth of all combinations: the first tenth in the order of their SHA-256."""
    combinations = list(itertools.product(SIZES, COLOURS, SHAPES, MOTIONS))
    combinations.sort(key=lambda words: hashlib.sha256(" ".join(words).encode()).digest())
    return frozenset(combinations[: round(len(combinations) / 10)])


HELD_OUT = _held_out_combinations()
"""The combinations (size, colour, shape, motion) that training never shows."""


def sample_scene(seed: int, index: int, *, split: Split = "train", num_objects: int | None = None) -> Scene:
    """Draw scene ``index`` of the world ``seed``.

    Args:
        seed: Which world.
        index: Which scene; the same pair always gives the same scene.
        split: "train" never shows a held-out combination, "held_out" always does (its first object), "any" may.
        num_objects: 1 to 3; drawn if None.
    """
    rng = random.Random(f"sora world {seed} {index} {split} {num_objects}")
    count = num_objects or rng.choices((1, 2, 3), _COUNT_WEIGHTS)[0]
    objects: list[SceneObject] = []
    while len(objects) < count:
        item = sample_object(rng, split, first=not objects)
        if is_free(item, objects):
            objects.append(item)
    if split == "held_out":
        # The held-out object is placed first, but must not always be named first.
        rng.shuffle(objects)
    camera = rng.choices(CAMERAS, _CAMERA_WEIGHTS)[0]
    return Scene(
        index=index,
        objects=tuple(objects),
        ground=rng.choice(GROUNDS),
        camera=camera,
        camera_rate=sample_camera_rate(camera, rng),
        sun=(rng.uniform(-1.0, 1.0), rng.uniform(0.75, 1.1)),
        phase=(rng.uniform(-50, 50), rng.uniform(-50, 50)),
        sky=rng.random(),
    )


def sample_camera_rate(camera: Camera, rng: random.Random) -> float:
    """How fast, or how far, a camera goes; 0 for a still one."""
    return rng.uniform(*_CAMERA_RATES.get(camera.split()[0], (0.0, 0.0)))


def sample_object(rng: random.Random, split: Split, *, first: bool) -> SceneObject:
    """Draw an object, wherever others are; of a held-out scene only the ``first`` is of a held-out combination."""
    while True:
        shape, colour, size = rng.choice(SHAPES), rng.choice(COLOURS), rng.choice(SIZES)
        motion = rng.choice(MOTIONS)
        held_out = (size, colour, shape, motion) in HELD_OUT
        if split == "any" or held_out == (split == "held_out" and first):
            break
    radius = rng.uniform(*RADIUS[size])
    reach = ARENA - radius - 0.05
    x, z = rng.uniform(-reach, reach) * 0.85, rng.uniform(-reach, reach) * 0.85
    height, velocity = 0.0, (0.0, 0.0, 0.0)
    if motion in _GLIDES:
        # Start on the far side of the way to go, so that the direction named is the one seen first.
        along_x, along_z = _GLIDES[motion]
        speed = rng.uniform(0.7, 1.2)
        start = rng.uniform(0.1, reach)
        x, z = (-along_x * start if along_x else x), (-along_z * start if along_z else z)
        velocity = (along_x * speed, 0.0, along_z * speed)
    elif motion == "bounce":
        height = rng.uniform(0.7, 1.4)
    elif motion == "fall":
        height = rng.uniform(1.2, 1.7)
    return SceneObject(
        shape=shape,
        colour=colour,
        size=size,
        motion=motion,
        radius=radius,
        position=(x, height, z),
        velocity=velocity,
        restitution=1.0 if motion == "bounce" else 0.3,
        yaw=rng.uniform(0, math.pi / 2),
    )


def is_free(item: SceneObject, others: Sequence[SceneObject]) -> bool:
    """Whether the place is not taken, seen from above, with a little air."""
    return all(
        math.hypot(item.position[0] - other.position[0], item.position[2] - other.position[2])
        > item.radius + other.radius + 0.12
        for other in others
    )
