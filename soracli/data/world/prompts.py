"""What a prompt asks for: the inverse of captions, word by word, for prompts of the world's grammar."""

from __future__ import annotations

import re
from typing import Any, Final

from soracli.data.world.grammar import COLOURS, SHAPES
from soracli.data.world.words import (
    CAMERA_OF,
    CONTACT_WORDS,
    COUNT_WORDS,
    GROUND_WORDS,
    MOTION_OF,
    RELATIONS,
    SIZE_WORDS,
    SKY_WORDS,
)

_FILLERS: Final = (
    *("a", "an", "and", "are", "is", "it", "on", "over", "that", "the", "there", "under", "while", "with"),
    *("a picture of", "the picture shows", "a video of", "the video shows", "a scene with", "the ground is"),
)


def _phrases() -> dict[str, tuple[str, Any]]:
    """Every phrase that means something, and what."""
    known: dict[str, tuple[str, Any]] = {phrase: ("filler", None) for phrase in _FILLERS}
    known |= {word: ("colour", word) for word in COLOURS} | {word: ("shape", word) for word in SHAPES}
    known |= {word: ("size", size) for size, words in SIZE_WORDS.items() for word in words}
    known |= {phrase: ("ground", ground) for ground, phrases in GROUND_WORDS.items() for phrase in phrases}
    known |= {f"{tone} sky": ("sky", tone) for tone in SKY_WORDS} | {
        f"the sky is {tone}": ("sky", tone) for tone in SKY_WORDS
    }
    known |= {phrase: ("motion", motion) for phrase, motion in MOTION_OF.items()}
    known |= {phrase: ("camera", camera) for phrase, camera in CAMERA_OF.items()}
    known |= {phrase: ("count", count) for count, phrase in COUNT_WORDS.items()}
    known |= dict.fromkeys(CONTACT_WORDS, ("contact", True))
    known |= {phrase: ("relation", name) for name, phrase in RELATIONS.items()}
    known |= {f"{phrase} it": ("relation to it", name) for name, phrase in RELATIONS.items()}
    return known | {sign: ("stop", None) for sign in ",.:"}


_KNOWN: Final = _phrases()
_LONGEST: Final = max(len(phrase.split()) for phrase in _KNOWN)


def parse_prompt(text: str) -> dict[str, Any] | None:
    """Read a prompt of the grammar; upper case and full stops do not matter.

    Args:
        text: Such as "a small red ball bounces on green grass, the camera orbits left".

    Returns:
        ``objects`` in the order they are named, each with ``colour``, ``shape``, ``size`` and ``motion``; ``ground``,
        ``sky``, ``camera``; ``relations`` as ``[0, "left", 1]`` (the first object is to the left of the second); and
        ``contact``. What is not named is None (``contact``: False). None if a word is not of the grammar, no object
        is named, or the prompt contradicts itself.
    """
    objects: list[dict[str, Any]] = []
    named: dict[str, Any] = {"ground": None, "sky": None, "camera": None, "count": None, "contact": None}
    relations: list[list[Any]] = []
    adjectives: dict[str, str | None] = {}
    before = ""
    for kind, value in _meanings(text):
        if adjectives and kind not in ("size", "colour", "shape"):
            return None
        if kind in ("size", "colour"):
            if kind in adjectives:
                return None
            adjectives[kind] = value
        elif kind == "shape":
            objects.append(
                {"colour": adjectives.get("colour"), "shape": value, "size": adjectives.get("size"), "motion": None}
            )
            adjectives = {}
        elif kind == "motion":
            if not objects or objects[-1]["motion"] is not None:
                return None
            objects[-1]["motion"] = value
        elif kind in named:
            if named[kind] not in (None, value):
                return None
            named[kind] = value
        elif kind == "relation":
            relations.append([len(objects) - 1, value, len(objects)])
        elif kind == "relation to it":
            # "a cube behind it" tells of the cube; "behind it, a cube" of what comes next.
            last = len(objects) - (1 if before == "shape" else 0)
            relations.append([last, value, last - 1])
        elif kind == "unknown":
            return None
        before = kind
    count = named.pop("count")
    inside = all(0 <= number < len(objects) for one, _, two in relations for number in (one, two))
    if not objects or adjectives or not inside or count not in (None, len(objects)):
        return None
    return {"objects": objects, **named, "relations": relations, "contact": bool(named["contact"])}


def _meanings(text: str) -> list[tuple[str, Any]]:
    """Kind and value of each phrase, the longest known one first at every place."""
    words = re.findall(r"[^\s,.:]+|[,.:]", text.lower())
    found: list[tuple[str, Any]] = []
    place = 0
    while place < len(words):
        for length in range(min(_LONGEST, len(words) - place), 0, -1):
            meaning = _KNOWN.get(" ".join(words[place : place + length]))
            if meaning is not None:
                break
        else:
            return [("unknown", None)]
        found.append(meaning)
        place += length
    return found
