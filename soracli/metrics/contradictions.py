"""Whether a longer text contradicts the prompt it was made from: an own small reader of plain English.

It knows nothing of the world's grammar and of what writes expansions, so that the one can check the other. It is
strict: what it cannot reconcile it reports.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_COLOURS: Final = frozenset(
    (
        *("red", "orange", "yellow", "green", "blue", "purple", "white", "black", "pink", "brown", "grey"),
        *("gray", "golden", "silver", "violet", "turquoise"),
    )
)
_SIZES: Final = {
    **dict.fromkeys(("small", "little", "tiny"), "small"),
    **dict.fromkeys(("large", "big", "huge", "giant"), "large"),
}
_NUMBERS: Final = {
    word: number for number, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"])
}
_THINGS: Final = ("ball", "cube", "cone")
_GROUNDS: Final = ("grass", "sand", "snow", "stone")
_VERBS: Final = {
    "rest": "rest|lie|lies|lying|sit|stand",
    "bounce": "bounc",
    "fall": "fall|drop",
    "glide": "roll|slid|mov",
}
_VERB: Final = re.compile(rf"^(?:{'|'.join(f'(?P<{name}>{forms})' for name, forms in _VERBS.items())})\w*$")
_SIDES: Final = ("left", "right", "towards", "toward", "away")
_SMALL_WORDS: Final = frozenset(
    (
        *("a", "an", "the", "and", "or", "of", "on", "in", "at", "to", "with", "is", "are", "it", "its"),
        *("that", "this", "there", "while", "under", "over", "from", "by", "as", "shows", "video", "picture"),
        *("photo", "image", "scene", "ground"),
    )
)
_CLAUSE: Final = re.compile(r"[.,:;!?]|\band\b|\bwhile\b|\bthat\b|\bwhich\b")
_ASIDE: Final = re.compile(r"\bto the (?:left|right) of\b|\bin front of\b|\bbehind\b")
_NEGATED: Final = re.compile(r"\b(?:no|not|without|never)\s+(?:any\s+|a\s+|an\s+|the\s+)?(\w+)")


@dataclass(frozen=True)
class _Thing:
    """A thing named in a text with what is said of it; empty is not said."""

    noun: str
    colour: str
    size: str
    motion: str

    def fits(self, other: _Thing) -> bool:
        """Whether the other may be the same thing said more closely."""
        pairs = ((self.colour, other.colour), (self.size, other.size), (self.motion, other.motion))
        return self.noun == other.noun and all(one in ("", two) for one, two in pairs)


def contradictions(prompt: str, text: str) -> list[str]:
    """What a text changes of a prompt, a reason each; empty if nothing.

    Compared are things (balls, cubes, cones) with colour, size and motion one to one, their number, grounds, the
    camera, where things are to one another, what the prompt negates, and every other word of the prompt, which must be
    in the text.
    """
    if text == prompt:
        return []
    asked, told = _things(prompt), _things(text)
    found = [f"{noun}s: {one} asked for, {two} told" for noun, one, two in _counts(asked, told)]
    if not found and not _matched(asked, told):
        found.append(f"things: {_listed(asked)} asked for, {_listed(told)} told")
    objects = re.search(r"\b(\w+) objects?\b", text.lower())
    if objects and asked and objects[1] in _NUMBERS and _NUMBERS[objects[1]] != len(asked):
        found.append(f"number: {len(asked)} asked for, {objects[0]} told")
    for name, one, two in (
        ("ground", _of(_GROUNDS, prompt), _of(_GROUNDS, text)),
        ("camera", _camera(prompt), _camera(text)),
        ("sky", _sky(prompt), _sky(text)),
    ):
        if one and one != two:
            found.append(f"{name}: {' '.join(sorted(one))} asked for, {' '.join(sorted(two)) or 'none'} told")
    one_place, two_places = _places(prompt), _places(text)
    if one_place - two_places:
        found.append(f"places: {_sides(one_place)} asked for, {_sides(two_places)} told")
    for word in set(_NEGATED.findall(prompt.lower())):
        if _words(text)[word] > _words(prompt)[word]:
            found.append(f"the prompt negates {word}")
    missing = _stems(prompt) - _stems(text)
    if missing:
        found.append(f"missing: {', '.join(sorted(missing))}")
    return found


def distinct_content(prompt: str, texts: Sequence[str]) -> float:
    """Share of expansions whose additions differ in content from those of all before, 1 / n to 1.

    Additions are words that are not the prompt's; what all expansions add is boilerplate and does not count, nor does
    the order of words.
    """
    added = [_words(text) - _words(prompt) for text in texts]
    shared = added[0]
    for one in added[1:]:
        shared = shared & one
    return len({frozenset((one - shared).items()) for one in added}) / len(texts)


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\W_]+", text.lower()))


def _things(text: str) -> list[_Thing]:
    """Things in order; "two red balls" are two. What follows "of it" or "the" names one again, and counts no more."""
    found: list[_Thing] = []
    # "a cone behind it that falls": its place stands between a thing and what it does.
    clean = _ASIDE.sub(" aside ", text.lower()).replace(" aside  it", " ")
    tokens = re.findall(r"[a-z0-9]+|[.,:;!?]", clean)
    for place, token in enumerate(tokens):
        noun = token.removesuffix("s")
        if noun not in _THINGS:
            continue
        before = tokens[max(0, place - 4) : place]
        for number in range(len(before) - 1, -1, -1):
            if before[number] in (*_SMALL_WORDS, *".,:;!?", "aside") or before[number].removesuffix("s") in _THINGS:
                before = before[number:]
                break
        colour = next((word for word in before if word in _COLOURS), "")
        size = next((_SIZES[word] for word in before if word in _SIZES), "")
        count = next((_NUMBERS.get(word) or int(word) for word in before if word in _NUMBERS or word.isdigit()), 1)
        found += [_Thing(noun, colour, size, _motion(tokens[place + 1 :]))] * min(count, 20)
    return found


def _motion(after: list[str]) -> str:
    """Kind of motion and side that are told right behind a thing, before the next one."""
    names = [token in _THINGS or token.removesuffix("s") in _THINGS for token in after]
    ends = [place for place, token in enumerate(after) if names[place] or token in ("camera", "aside", *".,:;")]
    clause = after[: ends[0]] if ends else after
    for place, token in enumerate(clause):
        if match := _VERB.match(token):
            kind = next(name for name, value in match.groupdict().items() if value)
            # "towards the camera" ends at the camera, its side stands before.
            sides = [word for word in clause[place + 1 : place + 5] if word in _SIDES]
            return f"{kind} {sides[0].removesuffix('s')}" if sides else kind
        if token in ("and", "while"):
            break
    return ""


def _counts(asked: Iterable[_Thing], told: Iterable[_Thing]) -> list[tuple[str, int, int]]:
    one, two = (Counter(item.noun for item in things) for things in (asked, told))
    return [(noun, one[noun], two[noun]) for noun in _THINGS if one[noun] != two[noun]]


def _matched(asked: Sequence[_Thing], told: Sequence[_Thing]) -> bool:
    """Whether things can be paired, each with one that fits."""
    if not asked:
        return True
    rest = list(told)
    return any(
        asked[0].fits(other) and _matched(asked[1:], rest[:number] + rest[number + 1 :])
        for number, other in enumerate(rest)
    )


def _of(known: Sequence[str], text: str) -> set[str]:
    return {word for word in known if re.search(rf"\b{word}\b", text.lower())}


def _sky(text: str) -> set[str]:
    said = re.findall(r"\bsky is (\w+)", text.lower()) + re.findall(r"\b(\w+) sky\b", text.lower())
    return set(said) - {"the", "a"}


def _camera(text: str) -> set[str]:
    """What the camera does: its verb and side."""
    found: set[str] = set()
    for clause in _CLAUSE.split(text.lower()):
        if "camera" not in clause or re.search(r"towards? the camera|(?:away )?from the camera", clause):
            continue
        after = clause.partition("camera")[2]
        for kind, forms in {"turn": "orbit|circl", "pan": "pan", "in": "moves in|closer|zoom"}.items():
            found |= {kind} if re.search(forms, after) else set()
        found |= {"still"} if re.search(r"still|not move|fixed|static", after) else set()
        found |= {side for side in ("left", "right") if re.search(rf"\b{side}\b", after)}
    return found


def _places(text: str) -> set[tuple[str, str, str]]:
    """Who is where to whom: (noun, side, noun), with "it" resolved to the thing named before."""
    found: set[tuple[str, str, str]] = set()
    tokens = re.findall(r"[a-z]+|[.,:;]", _ASIDE.sub(lambda match: f" aside{match[0].split()[-2:][0]} ", text.lower()))
    for place, token in enumerate(tokens):
        if not token.startswith("aside"):
            continue
        side = token.removeprefix("aside")
        before = [word for word in tokens[:place] if word in _THINGS]
        after = [word for word in tokens[place + 1 :] if word in _THINGS]
        follows = tokens[place + 1 : place + 2]
        if follows == ["it"]:
            # "a cone behind it" tells of the cone, "behind it, a cone" of what comes next.
            listed = place > 0 and tokens[place - 1] in _THINGS
            pair = (before[-1], before[-2]) if listed and len(before) > 1 else (*after[:1], *before[-1:])
        else:
            pair = (*before[-1:], *after[:1])
        if len(pair) == 2:
            found.add((pair[0], side, pair[1]))
    return found


def _sides(places: set[tuple[str, str, str]]) -> str:
    return ", ".join(" ".join(place) for place in sorted(places)) or "none"


def _stems(text: str) -> set[str]:
    """Content words without their endings: "rolling" and "rolls" are one, "two" and "2" too."""
    names = {str(number): word for word, number in _NUMBERS.items()}
    words = (names.get(word, word) for word in _words(text) if word not in _SMALL_WORDS)
    short = (re.sub(r"(?<=..)(?:ing|es|s|e)$", "", word) for word in words)
    return {re.sub(r"([pt])\1$", r"\1", re.sub(r"y$", "i", word)) for word in short}


def _listed(things: Sequence[_Thing]) -> str:
    return ", ".join(" ".join(filter(None, (it.size, it.colour, it.noun, it.motion))) for it in things) or "none"
