"""Whether a video shows what its prompt asks for: matching one to one, then one answer for each kind of thing asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

MOST_MATCHED = 6
"""Objects that are tried in every order; those seen least are left out beyond that."""


@dataclass(frozen=True)
class ObjectWords:
    """One object, asked for or seen; None is not asked, or could not be told."""

    colour: str | None = None
    shape: str | None = None
    size: str | None = None
    motion: str | None = None


@dataclass(frozen=True)
class SceneWords:
    """A whole scene, asked for or seen.

    Attributes:
        objects: Those asked for, or those seen with the most seen first.
        ground: Its word, or None.
        camera: Its word, or None.
        count: How many objects; None asks for no number, and a seen scene has as many as ``objects``.
    """

    objects: tuple[ObjectWords, ...] = ()
    ground: str | None = None
    camera: str | None = None
    count: int | None = None


@dataclass(frozen=True)
class Obedience:
    """What came out as asked; None where nothing was asked.

    Attributes:
        colour_and_shape: Every object that is asked for is there, one for one, with the colour and shape asked.
        motion: Every motion that is asked for is that of the object matched; a missing object has none.
        size: The same for sizes.
        count: As many objects as asked.
        ground: The ground asked for.
        camera: The camera's way asked for.
    """

    colour_and_shape: bool | None
    motion: bool | None
    size: bool | None
    count: bool | None
    ground: bool | None
    camera: bool | None


QUESTIONS = ("colour_and_shape", "motion", "size", "count", "ground", "camera")


def match_objects(asked: Sequence[ObjectWords], seen: Sequence[ObjectWords]) -> list[int | None]:
    """Which object that is seen is each one asked for: as many right colours and shapes as can be, then the rest.

    Args:
        asked: At most ``MOST_MATCHED`` objects are compared in every order.
        seen: Likewise; the first ones count.

    Returns:
        For each asked object the number of a seen one, no number twice, or None where too few are seen.
    """
    candidates: list[int | None] = list(range(min(len(seen), MOST_MATCHED)))
    asked = list(asked)
    head = asked[:MOST_MATCHED]
    candidates += [None] * max(0, len(head) - len(candidates))

    def worth(order: tuple[int | None, ...]) -> tuple[int, int, int]:
        pairs = [(want, seen[number]) for want, number in zip(head, order, strict=True) if number is not None]
        both = sum(_agrees(want.colour, got.colour) and _agrees(want.shape, got.shape) for want, got in pairs)
        either = sum(_agrees(want.colour, got.colour) + _agrees(want.shape, got.shape) for want, got in pairs)
        rest = sum(_agrees(want.motion, got.motion) + _agrees(want.size, got.size) for want, got in pairs)
        return both, either, rest

    best = max(permutations(candidates, len(head)), key=worth)
    return [*best, *[None] * (len(asked) - len(head))]


def score_scene(asked: SceneWords, seen: SceneWords) -> Obedience:
    """Compare what was asked for with what is seen."""
    matched = [
        (want, None if number is None else seen.objects[number])
        for want, number in zip(asked.objects, match_objects(asked.objects, seen.objects), strict=True)
    ]
    looks = [
        got is not None and _agrees(want.colour, got.colour) and _agrees(want.shape, got.shape)
        for want, got in matched
        if want.colour is not None or want.shape is not None
    ]
    motions = [got is not None and want.motion == got.motion for want, got in matched if want.motion is not None]
    sizes = [got is not None and want.size == got.size for want, got in matched if want.size is not None]
    return Obedience(
        colour_and_shape=all(looks) if looks else None,
        motion=all(motions) if motions else None,
        size=all(sizes) if sizes else None,
        count=None if asked.count is None else asked.count == len(seen.objects),
        ground=None if asked.ground is None else asked.ground == seen.ground,
        camera=None if asked.camera is None else asked.camera == seen.camera,
    )


def obedience_shares(scores: Iterable[Obedience]) -> dict[str, float]:
    """For each question the share of right answers among the scenes that ask it; questions nobody asks are left out."""
    scores = list(scores)
    shares = {}
    for question in QUESTIONS:
        answers = [answer for score in scores if (answer := getattr(score, question)) is not None]
        if answers:
            shares[question] = sum(answers) / len(answers)
    return shares


def confusion_table(pairs: Iterable[tuple[str, str]], words: Sequence[str]) -> list[list[int]]:
    """How often what is (row) was taken for what (column), in the order of ``words``.

    Raises:
        ValueError: If a pair has a word that is not among them.
    """
    table = [[0] * len(words) for _ in words]
    places = list(words)
    for true, said in pairs:
        table[places.index(true)][places.index(said)] += 1
    return table


def _agrees(want: str | None, got: str | None) -> bool:
    return want is None or want == got
