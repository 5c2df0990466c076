"""Edits of a scene as instructions, in many phrasings of one small English."""

from __future__ import annotations

import random
from typing import Literal, get_args

from soracli.data.world.grammar import Camera, Colour, Ground, Scene, SceneObject, Shape, Size
from soracli.data.world.words import GROUND_WORDS, SIZE_WORDS, motion_phrases

EditKind = Literal["colour", "shape", "size", "remove", "add", "ground", "camera", "reverse"]
EDIT_KINDS: tuple[EditKind, ...] = get_args(EditKind)

_COLOUR = (
    "make {it} {value}",
    "turn {it} {value}",
    "paint {it} {value}",
    "{it} should be {value}",
    "change the colour of {it} to {value}",
)
_SHAPE = (
    "turn {it} into a {value}",
    "make {it} a {value}",
    "change {it} into a {value}",
    "replace {it} with a {value}",
)
_SIZE: dict[Size, tuple[str, ...]] = {
    "small": ("make {it} small", "make {it} little", "make {it} smaller", "shrink {it}", "{it} should be small"),
    "large": ("make {it} large", "make {it} big", "make {it} bigger", "enlarge {it}", "{it} should be large"),
}
_REMOVE = ("remove {it}", "delete {it}", "take {it} away", "take away {it}")
_ADD = ("add {noun}", "insert {noun}", "there should also be {noun}")
_GROUND = (
    "put it on {value}",
    "change the ground to {value}",
    "make the ground {value}",
    "the ground should be {value}",
)
_STILL = ("hold the camera still", "keep the camera still", "stop the camera", "the camera should not move")
_MOVE_IN = ("move the camera in", "move the camera closer", "let the camera move in", "the camera should move closer")
_TURN = ("{verb} the camera {where}", "let the camera {verb} {where}", "the camera should {verb} {where}")
_REVERSE = (
    "reverse the motion",
    "reverse the video",
    "play it backwards",
    "play the video in reverse",
    "run the video backwards",
)


def names_of(scene: Scene, number: int) -> tuple[str, ...]:
    """What an object may be called so that no other one is meant.

    Returns:
        "the ball" if there is one ball, "the red ball" if there is one of those; nothing if neither tells it apart.
    """
    item = scene.objects[number]
    alike = [other for place, other in enumerate(scene.objects) if place != number and other.shape == item.shape]
    short = () if alike else (f"the {item.shape}",)
    unclear = any(other.colour == item.colour for other in alike)
    return short if unclear else (f"the {item.colour} {item.shape}", *short)


def say_colour(it: str, value: Colour, rng: random.Random) -> str:
    """Such as "make the ball blue"."""
    return rng.choice(_COLOUR).format(it=it, value=value)


def say_shape(it: str, value: Shape, rng: random.Random) -> str:
    """Such as "turn the cube into a cone"."""
    return rng.choice(_SHAPE).format(it=it, value=value)


def say_size(it: str, value: Size, rng: random.Random) -> str:
    """Such as "make the red ball large"."""
    return rng.choice(_SIZE[value]).format(it=it)


def say_remove(it: str, rng: random.Random) -> str:
    """Such as "remove the cone"."""
    return rng.choice(_REMOVE).format(it=it)


def say_add(item: SceneObject, moving: bool, rng: random.Random) -> str:
    """Such as "add a small white ball that bounces"; of a picture, and of what rests, no motion is said."""
    noun = f"a {rng.choice(SIZE_WORDS[item.size])} {item.colour} {item.shape}"
    if moving and item.motion != "rest":
        noun = f"{noun} that {rng.choice(motion_phrases(item.motion, item.shape))[0]}"
    return rng.choice(_ADD).format(noun=noun)


def say_ground(value: Ground, rng: random.Random) -> str:
    """Such as "put it on white snow"."""
    return rng.choice(_GROUND).format(value=rng.choice(GROUND_WORDS[value]))


def say_camera(value: Camera, rng: random.Random) -> str:
    """Such as "orbit the camera to the left"."""
    if value == "still":
        return rng.choice(_STILL)
    if value == "move in":
        return rng.choice(_MOVE_IN)
    verb, _, side = value.partition(" ")
    verb = rng.choice(("orbit", "circle")) if verb == "orbit" else verb
    return rng.choice(_TURN).format(verb=verb, where=rng.choice((side, f"to the {side}")))


def say_reverse(rng: random.Random) -> str:
    """Such as "reverse the motion"."""
    return rng.choice(_REVERSE)
