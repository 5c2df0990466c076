"""The words of the world: how each attribute may be said; captions are written with them and prompts read by them."""

from __future__ import annotations

from soracli.data.world.grammar import CAMERAS, MOTIONS, SHAPES, Camera, Ground, Motion, Shape, Size

SIZE_WORDS: dict[Size, tuple[str, ...]] = {"small": ("small", "little"), "large": ("large", "big")}
GROUND_WORDS: dict[Ground, tuple[str, ...]] = {
    "grass": ("grass", "green grass"),
    "sand": ("sand", "golden sand"),
    "snow": ("snow", "white snow"),
    "stone": ("stone", "grey stone"),
}
COUNT_WORDS = {1: "one object", 2: "two objects", 3: "three objects"}
SKY_WORDS = ("blue", "pale")
RELATIONS = {"left": "to the left of", "right": "to the right of", "in front": "in front of", "behind": "behind"}
"""What one object can be to another at the first frame, and the words before that other."""
CONTACT_WORDS = ("they bump into each other", "they collide")

_GLIDING: dict[Shape, tuple[str, str]] = {
    "ball": ("rolls", "rolling"),
    "cube": ("slides", "sliding"),
    "cone": ("slides", "sliding"),
}
_RESTING: dict[Shape, tuple[tuple[str, str], ...]] = {
    "ball": (("rests", "resting"), ("lies still", "lying still")),
    "cube": (("rests", "resting"), ("sits", "sitting"), ("lies still", "lying still"), ("stands", "standing")),
    "cone": (("rests", "resting"), ("sits", "sitting"), ("stands", "standing"), ("stands still", "standing still")),
}
_BOUNCING = (("bounces", "bouncing"), ("bounces up and down", "bouncing up and down"))
_FALLING = (("falls", "falling"), ("drops", "dropping"), ("falls from above", "falling from above"))
_DIRECTIONS: dict[Motion, tuple[str, ...]] = {
    "left": ("left", "to the left"),
    "right": ("right", "to the right"),
    "towards": ("towards the camera",),
    "away": ("away", "away from the camera"),
}
_TURNING = {"orbit": ("orbits", "circles"), "pan": ("pans",)}


def motion_phrases(motion: Motion, shape: Shape) -> tuple[tuple[str, str], ...]:
    """Ways to say that something of this shape moves so: ("rolls to the left", "rolling to the left") and others."""
    if motion == "rest":
        return _RESTING[shape]
    if motion == "bounce":
        return _BOUNCING
    if motion == "fall":
        return _FALLING
    verbs = (_GLIDING[shape], ("moves", "moving"))
    return tuple(
        (f"{finite} {where}", f"{participle} {where}") for finite, participle in verbs for where in _DIRECTIONS[motion]
    )


def camera_phrases(camera: Camera) -> tuple[str, ...]:
    """Ways to say what the camera does: ("the camera pans left", "the camera pans to the left")."""
    if camera == "still":
        return ("the camera is still", "the camera does not move")
    if camera == "move in":
        return ("the camera moves in", "the camera moves closer")
    kind, _, side = camera.partition(" ")
    return tuple(f"the camera {verb} {where}" for verb in _TURNING[kind] for where in (side, f"to the {side}"))


MOTION_OF = {
    phrase: motion
    for motion in MOTIONS
    for shape in SHAPES
    for forms in motion_phrases(motion, shape)
    for phrase in forms
}
"""The motion that a phrase names."""

CAMERA_OF = {phrase: camera for camera in CAMERAS for phrase in camera_phrases(camera)}
"""The camera that a phrase names."""

VOCABULARY = (
    *("a", "above", "an", "and", "are", "away", "ball", "behind", "big", "black", "blue", "bounces", "bouncing"),
    *("bump", "camera", "circles", "closer", "collide", "cone", "cube", "does", "down", "dropping", "drops", "each"),
    *("falling", "falls", "from", "front", "golden", "grass", "green", "grey", "ground", "in", "into", "is", "it"),
    *("large", "left", "lies", "little", "lying", "move", "moves", "moving", "not", "object", "objects", "of", "on"),
    *("one", "orange", "orbits", "other", "over", "pale", "pans", "picture", "purple", "red", "resting", "rests"),
    *("right", "rolling", "rolls", "sand", "scene", "shows", "sits", "sitting", "sky", "slides", "sliding", "small"),
    *("snow", "standing", "stands", "still", "stone", "that", "the", "there", "they", "three", "to", "towards", "two"),
    *("under", "up", "video", "while", "white", "with", "yellow"),
)
"""All words that captions use; the signs beside them are comma, colon and full stop."""
