"""Scenes in words, in many phrasings of one small English, and the truth about a scene as plain values."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from soracli.data.world.grammar import Scene, SceneObject
from soracli.data.world.prompts import parse_prompt
from soracli.data.world.words import (
    CONTACT_WORDS,
    COUNT_WORDS,
    GROUND_WORDS,
    RELATIONS,
    SIZE_WORDS,
    SKY_WORDS,
    VOCABULARY,
    camera_phrases,
    motion_phrases,
)

__all__ = ["VOCABULARY", "Relation", "Style", "caption_scene", "facts", "parse_prompt", "relation_between"]

Style = Literal["short", "long"]
Relation = Literal["left", "right", "in front", "behind"]

_DROP_SIZE, _DROP_GROUND, _DROP_CAMERA = 0.4, 0.25, 0.25
"""How often a short caption leaves these out."""

# {on} is "on green grass", {ground} "green grass", {sky} "a blue sky", {tone} "blue"; {objects} are clauses with a
# verb, {listing} noun phrases. Templates that name the ground are taken only when it is named.
_SHORT_MOVING = (
    "{objects} {on}",
    "{on}, {objects}",
    "{doing} {on}",
    "there is {listing} {on}",
    "a video of {doing} {on}",
    "{ground} with {doing}",
    "{ground}, {objects}",
)
_SHORT_STILL = (
    "{listing} {on}",
    "{on}, {listing}",
    "a picture of {listing} {on}",
    "there is {listing} {on}",
    "{ground} with {listing}",
    "{ground}, {listing}",
)
LONG_MOVING = (
    "{count} {on} under {sky}. {sentences}. {camera}.",
    "{on} under {sky} there {are} {count}: {listing}. {camera}.",
    "{camera}. {on}, under {sky}, there {are} {count}. {sentences}.",
    "{sentences}. there {are} {count} {on} under {sky}, and {camera}.",
    "{ground}, {sky} and {count}: {listing}. {camera}.",
    "a video of {count} {on}: {listing}. the sky is {tone}, and {camera}.",
    "the video shows {count} {on} under {sky} while {camera}. {sentences}.",
    "a scene with {count}. {sentences}. the ground is {ground}, the sky is {tone}, and {camera}.",
)
LONG_STILL = (
    "{count} {on} under {sky}. {sentences}.",
    "{on} under {sky} there {are} {count}: {listing}.",
    "{listing}. there {are} {count} {on} under {sky}.",
    "{ground}, {sky} and {count}: {listing}.",
    "a picture of {count} {on}: {listing}. the sky is {tone}.",
    "the picture shows {count} under {sky} {on}: {listing}.",
    "a scene with {count}. {sentences}. the ground is {ground}, the sky is {tone}.",
)
"""How long captions are put together, see ``fill_long``."""


@dataclass(frozen=True)
class ObjectPhrase:
    """One object in words, as a long caption has them.

    Attributes:
        noun: "a small red ball".
        finite, participle: "rolls left" and "rolling left"; empty in a still picture.
        place: "behind it" for its place at the first frame seen from the object named before; may be empty.
    """

    noun: str
    finite: str
    participle: str
    place: str


def caption_scene(scene: Scene, *, style: Style, moving: bool, rng: random.Random, contact: bool = False) -> str:
    """Say what a scene shows, in lower case with the words of ``VOCABULARY``.

    Args:
        scene: What to say.
        style: "long" names everything (number, sizes, colours, shapes, motions, ground, sky, camera and who stands
            where at the first frame); "short" may leave out sizes, ground and camera and names no sky.
        moving: False for a picture of the first frame: neither motion nor camera are named.
        rng: Chooses the order of the objects and the phrasing.
        contact: Whether objects bump into each other; said of moving scenes only.

    Returns:
        One line; a long caption is sentences, each with its full stop.
    """
    items = list(scene.objects)
    rng.shuffle(items)
    if style == "long":
        return _long(scene, items, moving, rng, contact)
    return _short(scene, items, moving, rng, contact)


def facts(scene: Scene) -> dict[str, Any]:
    """The truth about a scene as plain JSON values, in the words of the grammar.

    Returns:
        ``objects`` (each with size, colour, shape, motion), ``ground``, ``sky`` ("blue" or "pale"), ``camera``,
        ``relations`` (``[0, "left", 1]``: object 0 is to the left of object 1 at the first frame; all pairs in order)
        and ``held_out``.
    """
    numbers = range(len(scene.objects))
    return {
        "objects": [
            {"size": item.size, "colour": item.colour, "shape": item.shape, "motion": item.motion}
            for item in scene.objects
        ],
        "ground": scene.ground,
        "sky": _sky(scene),
        "camera": scene.camera,
        "relations": [
            [one, relation_between(scene.objects[one], scene.objects[two]), two]
            for one in numbers
            for two in numbers
            if one < two
        ],
        "held_out": scene.held_out,
    }


def relation_between(one: SceneObject, two: SceneObject) -> Relation:
    """What ``one`` is to ``two`` at the first frame, as its camera sees them; the larger distance decides."""
    across, nearer = one.position[0] - two.position[0], one.position[2] - two.position[2]
    if abs(across) >= abs(nearer):
        return "left" if across < 0 else "right"
    return "in front" if nearer > 0 else "behind"


def _short(scene: Scene, items: Sequence[SceneObject], moving: bool, rng: random.Random, contact: bool) -> str:
    words = [_words(item, None, moving, rng, sized=rng.random() >= _DROP_SIZE) for item in items]
    templates: tuple[str, ...] = _SHORT_MOVING if moving else _SHORT_STILL
    ground = rng.choice(GROUND_WORDS[scene.ground])
    if rng.random() < _DROP_GROUND:
        templates = tuple(t.replace(" {on}", "") for t in templates if t.endswith(" {on}"))
    listing = _join([_listed(item) for item in words])
    if not moving and len(items) == 2 and rng.random() < 0.5:
        listing = f"{words[0].noun} {RELATIONS[relation_between(items[0], items[1])]} {words[1].noun}"
    text = rng.choice(templates).format(
        on=f"{_preposition(scene, moving)} {ground}",
        ground=ground,
        listing=listing,
        objects=_join([f"{item.noun} {item.finite}" for item in words]),
        doing=_join([f"{item.noun} {item.participle}" for item in words]),
    )
    if not moving:
        return text
    if contact:
        text = f"{text}, {rng.choice(CONTACT_WORDS)}"
    if scene.camera != "still" and rng.random() >= _DROP_CAMERA:
        frames = ["{text}, {camera}", "{text}, {camera}", "{text} while {camera}"]
        if not text.startswith("a video of"):
            frames.append("{camera}, {text}")
        frame = rng.choice(frames)
        text = frame.format(text=text, camera=rng.choice(camera_phrases(scene.camera)))
    return text


def _long(scene: Scene, items: Sequence[SceneObject], moving: bool, rng: random.Random, contact: bool) -> str:
    words = [
        _words(item, items[number - 1] if number else None, moving, rng, sized=True)
        for number, item in enumerate(items)
    ]
    ground = rng.choice(GROUND_WORDS[scene.ground])
    bumping = rng.choice(CONTACT_WORDS) if contact and moving else ""
    template = rng.choice(LONG_MOVING if moving else LONG_STILL)
    camera = rng.choice(camera_phrases(scene.camera))
    on = f"{_preposition(scene, moving)} {ground}"
    return fill_long(template, words, on=on, ground=ground, tone=_sky(scene), camera=camera, bumping=bumping)


def fill_long(
    template: str,
    words: Sequence[ObjectPhrase],
    *,
    on: str,
    ground: str,
    tone: str,
    camera: str,
    bumping: str = "",
) -> str:
    """A long caption out of its phrases.

    Args:
        template: One of ``LONG_MOVING``, or of ``LONG_STILL`` if the objects have no verbs.
        words: The objects in the order they are named.
        on: "on green grass".
        ground: "green grass".
        tone: Of the sky: "blue".
        camera: "the camera pans left"; not looked at in a still picture.
        bumping: "they collide", or "".
    """
    sentences = [_sentence(item) for item in words]
    listing = _join([_listed(item) for item in words])
    return template.format(
        count=COUNT_WORDS[len(words)],
        are="is" if len(words) == 1 else "are",
        on=on,
        ground=ground,
        sky=f"a {tone} sky",
        tone=tone,
        camera=camera,
        sentences=". ".join([*sentences, bumping] if bumping else sentences),
        listing=f"{listing}. {bumping}" if bumping else listing,
    )


def _words(
    item: SceneObject, before: SceneObject | None, moving: bool, rng: random.Random, *, sized: bool
) -> ObjectPhrase:
    adjectives = [rng.choice(SIZE_WORDS[item.size])] if sized else []
    noun = " ".join([*adjectives, item.colour, item.shape])
    finite, participle = rng.choice(motion_phrases(item.motion, item.shape)) if moving else ("", "")
    return ObjectPhrase(
        noun=f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}",
        finite=finite,
        participle=participle,
        place=f"{RELATIONS[relation_between(item, before)]} it" if before else "",
    )


def _sentence(item: ObjectPhrase) -> str:
    if not item.finite:
        return " ".join(filter(None, (item.place, "there is", item.noun)))
    return f"{item.place}, {item.noun} {item.finite}" if item.place else f"{item.noun} {item.finite}"


def _listed(item: ObjectPhrase) -> str:
    return " ".join(filter(None, (item.noun, item.place, item.finite and f"that {item.finite}")))


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _preposition(scene: Scene, moving: bool) -> str:
    """In a still picture nothing tells that what is in the air will come down, so it is over the ground."""
    in_air = any(item.position[1] > 0 for item in scene.objects)
    return "over" if in_air and not moving else "on"


def _sky(scene: Scene) -> str:
    return SKY_WORDS[0] if scene.sky < 0.5 else SKY_WORDS[1]
