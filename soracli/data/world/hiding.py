"""Scenes in which an object is seen, hidden for some seconds, and seen again: behind another one, or out of the view.

Axes: T frames. A scene is drawn so that its object may be hidden; only a look at what each pixel shows tells when it
is.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from soracli.data.world.camera import FIELD, camera_path
from soracli.data.world.grammar import (
    ARENA,
    GROUNDS,
    RADIUS,
    Camera,
    Scene,
    SceneObject,
    is_free,
    sample_camera_rate,
    sample_object,
)

HiddenBy = Literal["view", "object"]
"""By the frame's edge, when the camera turns away and back, or by another object, when the camera goes around both."""
HIDDEN_BY: tuple[HiddenBy, ...] = get_args(HiddenBy)

_AIR = 0.13
"""Units between two objects at least, see ``is_free``."""
_CORE, _HULL = 0.4, 1.45
"""Radii about the middle that every shape fills, and that none leaves, as a camera sees it."""


@dataclass(frozen=True)
class HidingScene:
    """A scene of two objects that differ in colour and in shape.

    Attributes:
        scene: What is drawn.
        number: Which of its objects may be hidden. It rests.
        hidden_by: What may hide it.
    """

    scene: Scene
    number: int
    hidden_by: HiddenBy


def draw_hiding(seed: int, index: int, hidden_by: HiddenBy) -> HidingScene:
    """Draw a scene whose object may be hidden and come back.

    Colours, shapes, sizes, grounds, cameras and their rates are drawn as in every scene of the world, of all
    combinations; places are drawn where something can be hidden.

    Args:
        seed: Which world.
        index: Which scene; the same numbers always give the same one.
        hidden_by: What shall hide it: the edge of a frame that pans, or a large object that the camera orbits.
    """
    rng = random.Random(f"sora hiding {seed} {index} {hidden_by}")
    while True:
        camera: Camera = rng.choice(("pan left", "pan right") if hidden_by == "view" else ("orbit left", "orbit right"))
        target, other = sample_object(rng, "any", first=True), sample_object(rng, "any", first=False)
        if target.shape == other.shape or target.colour == other.colour:
            continue
        target = replace(target, motion="rest", velocity=(0.0, 0.0, 0.0))
        scene = Scene(
            index=index,
            objects=(target, other),
            ground=rng.choice(GROUNDS),
            camera=camera,
            camera_rate=sample_camera_rate(camera, rng),
            sun=(rng.uniform(-1.0, 1.0), rng.uniform(0.75, 1.1)),
            phase=(rng.uniform(-50, 50), rng.uniform(-50, 50)),
            sky=rng.random(),
        )
        target, other = _at_the_side(scene, rng) if hidden_by == "view" else _behind(scene, rng)
        inside = max(abs(target.position[0]), abs(target.position[2])) < ARENA - target.radius
        if inside and is_free(target, [other]):
            number = rng.randrange(2)
            objects = (target, other) if number == 0 else (other, target)
            return HidingScene(replace(scene, objects=objects), number, hidden_by)


def unnamed_colour(text: str, item: SceneObject) -> str:
    """A caption that names one object of its colour and shape, without that colour: "a small ball rests on sand"."""
    text = re.sub(rf"\ban {item.colour} {item.shape}\b", f"a {item.shape}", text)
    return re.sub(rf"\b{item.colour} {item.shape}\b", item.shape, text)


def could_be_hidden(drawn: HidingScene, times: Tensor) -> Tensor:
    """Whether an object may be hidden at each time, if nothing moves it: ``(T,)`` bool.

    Quick, by the middles and radii of both objects; true wherever it is hidden, and at some other times.

    Args:
        drawn: The scene.
        times: ``(T,)`` seconds from its start.
    """
    path = camera_path(drawn.scene, times)
    target, other = drawn.scene.objects[drawn.number], drawn.scene.objects[1 - drawn.number]
    towards = [_middle(item) - path.origin for item in (target, other)]  # 2 (T, 3)
    if drawn.hidden_by == "view":
        across, depth = ((towards[0] * axis).sum(-1) for axis in (path.right, path.forward))
        return across.abs() - _CORE * target.radius > FIELD * depth
    far, near = (way.norm(dim=-1) for way in towards)
    apart = torch.acos(((towards[0] * towards[1]).sum(-1) / (far * near)).clamp(-1, 1))
    return (near < far) & (apart + _CORE * target.radius / far < _HULL * other.radius / near)


def hidden_spans(shares: Tensor) -> list[tuple[int, int]]:
    """Where an object is hidden between two moments in which it is seen: first hidden frame, first frame seen again.

    Args:
        shares: ``(T,)`` share of each frame that it covers.
    """
    seen = (shares > 0).nonzero()[:, 0].tolist()
    return [(before + 1, after) for before, after in itertools.pairwise(seen) if after > before + 1]


def _at_the_side(scene: Scene, rng: random.Random) -> tuple[SceneObject, SceneObject]:
    """The first object near a side of the frame, in front, where a pan loses it; the second stays where it is."""
    target, other = scene.objects
    reach = ARENA - target.radius
    x = rng.choice((-1, 1)) * rng.uniform(0.5 * reach, reach)
    return replace(target, position=(x, 0.0, rng.uniform(0.0, reach))), other


def _middle(item: SceneObject) -> Tensor:
    return torch.tensor([item.position[0], item.radius, item.position[2]])


def _behind(scene: Scene, rng: random.Random) -> tuple[SceneObject, SceneObject]:
    """A small one behind a large one as the camera sees them some seconds after the start; both rest."""
    target, other = scene.objects
    target = replace(target, size="small", radius=rng.uniform(*RADIUS["small"]))
    x, z = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8)
    other = replace(
        other,
        size="large",
        radius=rng.uniform(*RADIUS["large"]),
        motion="rest",
        velocity=(0.0, 0.0, 0.0),
        position=(x, 0.0, z),
    )
    eye = camera_path(scene, torch.tensor([rng.uniform(2.0, 6.0)])).origin[0].tolist()
    along = (x - eye[0], z - eye[2])
    away = (target.radius + other.radius + _AIR + rng.uniform(0.0, 0.6)) / math.hypot(*along)
    return replace(target, position=(x + away * along[0], 0.0, z + away * along[1])), other
