"""Reading what a user typed of the world with some tolerance, each fact kept in the user's own words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from soracli.data.world.grammar import COLOURS, SHAPES, Colour, Shape
from soracli.data.world.words import (
    CAMERA_OF,
    CONTACT_WORDS,
    COUNT_WORDS,
    GROUND_WORDS,
    MOTION_OF,
    RELATIONS,
    SIZE_WORDS,
    SKY_WORDS,
    motion_phrases,
)

_NUMBERS: Final = {"two": 2, "2": 2, "three": 3, "3": 3}
_FILLERS: Final = frozenset(
    (
        *("a", "an", "and", "are", "is", "it", "of", "on", "over", "scene", "shows", "that", "the", "there"),
        *("under", "while", "with", "video"),
    )
)
_STILL: Final = frozenset(("picture", "photo", "image"))
_FINITE: Final = {
    participle: finite
    for shape in SHAPES
    for m in MOTION_OF.values()
    for finite, participle in motion_phrases(m, shape)
}
_SIZES: Final = frozenset(word for words in SIZE_WORDS.values() for word in words)
_GROUNDS: Final = frozenset(word for words in GROUND_WORDS.values() for word in words)
_RELATIONS: Final = {words: name for name, words in RELATIONS.items()}
_LONGEST: Final = 6
MOST_OBJECTS: Final = 3


@dataclass
class SaidObject:
    """One object as the user put it; what was not said is empty."""

    shape: Shape
    colour: Colour | None = None
    size: str = ""
    motion: str = ""


@dataclass
class Said:
    """What a prompt says.

    Attributes:
        objects: In the order they are named.
        ground: Such as "green grass".
        tone: Of the sky.
        camera: Such as "the camera pans left".
        contact: Such as "they collide".
        relations: By object number: where it is, seen from the object before it ("behind").
        is_still: Whether it asks for a picture.
    """

    objects: list[SaidObject] = field(default_factory=list)
    ground: str = ""
    tone: str = ""
    camera: str = ""
    contact: str = ""
    relations: dict[int, str] = field(default_factory=dict)
    is_still: bool = False


def read_prompt(text: str) -> Said | None:
    """Read a prompt in the world's words; capitals, numbers and plurals ("two red balls") do not matter.

    Returns:
        What it says; None if any word is not the world's, it names no object or more than the world holds, or it says
        something that cannot be told apart: then nobody should build on this reading.
    """
    words = re.findall(r"[a-z0-9'’-]+|[^\sa-z0-9]", text.lower())
    said, count, copies = Said(), 0, 1
    size, colour = "", None
    last: list[SaidObject] = []
    between = -1
    relation = ""
    place = 0
    while place < len(words):
        kind, value, length = _phrase(words, place)
        place += length
        if kind in ("stop", "filler"):
            continue
        if (size or colour or copies > 1) and kind not in ("size", "colour", "shape"):
            return None
        if kind == "size":
            if size or colour:
                return None
            size = value
        elif kind == "colour":
            if colour:
                return None
            colour = value
        elif kind == "number":
            copies = _NUMBERS[value]
        elif kind == "shape":
            shape = value.removesuffix("s")
            if (shape != value) != (copies > 1):
                return None
            last = [SaidObject(shape, colour, size) for _ in range(copies)]  # type: ignore[arg-type]
            said.objects += last
            if relation:
                # "a ball behind a cube" is told the other way round: a cube; behind it, a ball.
                if between != len(said.objects) - 2 or between != 0 or copies > 1:
                    return None
                said.objects.reverse()
                said.relations[1], relation = relation, ""
            size, colour, copies = "", None, 1
        elif kind == "motion":
            if not last or last[0].motion:
                return None
            for item in last:
                item.motion = value
        elif kind == "relation":
            if relation or len(said.objects) != 1:
                return None
            relation, between = value, 0
        elif kind == "count":
            if count:
                return None
            count = next(number for number, phrase in COUNT_WORDS.items() if phrase == value)
        elif kind in ("ground", "tone", "camera", "contact"):
            if getattr(said, kind):
                return None
            setattr(said, kind, value)
        elif kind == "still":
            said.is_still = True
        else:
            return None
    unfinished = size or colour or copies > 1 or relation
    if unfinished or not 0 < len(said.objects) <= MOST_OBJECTS or count not in (0, len(said.objects)):
        return None
    moves = said.contact or said.camera or any(item.motion for item in said.objects)
    # Only a motion the shape is told with has a place in a long caption ("a ball slides" has none).
    wrong = [m for o in said.objects if (m := o.motion) and m not in dict(motion_phrases(MOTION_OF[m], o.shape))]
    return None if wrong or (said.is_still and moves) else said


def _phrase(words: list[str], place: int) -> tuple[str, str, int]:
    """Kind, the words as captions have them, and number of words: of the longest phrase that is known here."""
    for length in range(min(_LONGEST, len(words) - place), 0, -1):
        phrase = " ".join(words[place : place + length])
        if phrase in MOTION_OF:
            return "motion", _FINITE.get(phrase, phrase), length
        if phrase in CAMERA_OF:
            return "camera", phrase, length
        if phrase in CONTACT_WORDS:
            return "contact", phrase, length
        if phrase in _RELATIONS:
            # "... of it" and "behind it" name nothing that could be read safely.
            follows = words[place + length : place + length + 1]
            return ("unknown" if follows == ["it"] else "relation"), _RELATIONS[phrase], length
        if phrase in _GROUNDS:
            return "ground", phrase, length
        if phrase in COUNT_WORDS.values():
            return "count", phrase, length
        for tone in SKY_WORDS:
            if phrase in (f"{tone} sky", f"the sky is {tone}"):
                return "tone", tone, length
        if phrase.startswith("the ground is ") and phrase.removeprefix("the ground is ") in _GROUNDS:
            return "ground", phrase.removeprefix("the ground is "), length
    word = words[place]
    for kind, known in (("colour", COLOURS), ("size", _SIZES), ("number", _NUMBERS), ("still", _STILL)):
        if word in known:
            return kind, word, 1
    if word in SHAPES or word.removesuffix("s") in SHAPES:
        return "shape", word, 1
    if word in _FILLERS:
        return "filler", word, 1
    return ("stop" if word in ",.:;!" else "unknown"), word, 1
