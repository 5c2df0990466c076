"""Which facts of a scene a caption tells: how many of those told are right, how many of those there are told.

A scene and a caption that was read are both plain values in the form of the world's ``parse_prompt``: ``objects``,
each with ``shape``, ``colour``, ``size`` and ``motion``, then ``ground``, ``sky``, ``camera``, ``relations`` and
``contact``; None is not told, or not to be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from soracli.metrics.obedience import ObjectWords, match_objects

KINDS: Final = ("object", "colour", "size", "motion", "count", "ground", "camera", "sky", "place", "contact")
"""An object with its shape, its colour, its size, how it moves first; how many there are; the ground; the camera's way;
the tone of the sky; where objects are to one another at the first frame; whether they bump into each other."""
VISIBLE: Final = ("object", "colour", "motion", "count", "ground", "camera")
"""Kinds that anybody who sees the clip would agree on: sizes, skies and places have borderline cases."""
_OPPOSITE: Final = {"left": "right", "right": "left", "in front": "behind", "behind": "in front"}


@dataclass(frozen=True)
class FactCount:
    """Facts of one kind.

    Attributes:
        told: By captions.
        right: Of those.
        there: In the scenes; 0 where a caption need not tell all.
    """

    told: int = 0
    right: int = 0
    there: int = 0

    def __add__(self, other: FactCount) -> FactCount:
        return FactCount(self.told + other.told, self.right + other.right, self.there + other.there)


def count_facts(scene: Mapping[str, Any], caption: Mapping[str, Any] | None) -> dict[str, FactCount]:
    """Facts of one scene and one caption, by kind.

    Objects are paired one to one so that most agrees; a caption's objects beyond those of the scene are wrong in
    everything told of them.

    Args:
        scene: What is to be seen.
        caption: What was told; None if the caption could not be read: nothing is told then.
    """
    objects = scene["objects"]
    told = caption["objects"] if caption is not None else []
    pairs = match_objects([_words(item) for item in objects], [_words(item) for item in told])
    partner = {number: place for place, number in enumerate(pairs) if number is not None}
    counts: dict[str, FactCount] = {}
    for kind, key in (("object", "shape"), ("colour", "colour"), ("size", "size"), ("motion", "motion")):
        counts[kind] = FactCount(
            told=sum(item[key] is not None for item in told),
            right=sum(
                item[key] is not None and number in partner and item[key] == objects[partner[number]][key]
                for number, item in enumerate(told)
            ),
            there=sum(item[key] is not None for item in objects),
        )
    is_read = caption is not None
    counts["count"] = FactCount(int(is_read), int(is_read and len(told) == len(objects)), 1)
    for kind in ("ground", "camera", "sky"):
        true, said = scene[kind], caption[kind] if caption is not None else None
        counts[kind] = FactCount(int(said is not None), int(said is not None and said == true), int(true is not None))
    bumps, tells = bool(scene["contact"]), caption is not None and bool(caption["contact"])
    counts["contact"] = FactCount(int(tells), int(tells and bumps), int(bumps))
    places = _both_ways(scene["relations"])
    said_places = caption["relations"] if caption is not None else []
    right = [(partner.get(one), side, partner.get(two)) in places for one, side, two in said_places]
    counts["place"] = FactCount(len(said_places), sum(right), 0)
    return {kind: counts[kind] for kind in KINDS}


def sum_facts(counts: Iterable[Mapping[str, FactCount]]) -> dict[str, FactCount]:
    """Facts of many captions, by kind; ``visible`` are those of ``VISIBLE`` together."""
    total = {kind: FactCount() for kind in KINDS}
    for found in counts:
        total = {kind: total[kind] + found[kind] for kind in KINDS}
    visible = FactCount()
    for kind in VISIBLE:
        visible += total[kind]
    return {"visible": visible, **total}


def precision(count: FactCount) -> float:
    """Share of the told facts that are right; NaN if none was told."""
    return count.right / count.told if count.told else float("nan")


def recall(count: FactCount) -> float:
    """Share of the facts there that were told right; NaN if there are none."""
    return count.right / count.there if count.there else float("nan")


def _words(item: Mapping[str, Any]) -> ObjectWords:
    return ObjectWords(item["colour"], item["shape"], item["size"], item["motion"])


def _both_ways(relations: Iterable[Iterable[Any]]) -> set[tuple[Any, str, Any]]:
    found = {(one, side, two) for one, side, two in relations}
    return found | {(two, _OPPOSITE[side], one) for one, side, two in found}
