"""Short prompts as the long captions a model was trained on: what the user said in the user's words, the rest drawn."""

from __future__ import annotations

import random
import re
from typing import Final

from soracli.data.world.captions import LONG_MOVING, LONG_STILL, ObjectPhrase, fill_long
from soracli.data.world.grammar import CAMERAS, COLOURS, GROUNDS, HELD_OUT, MOTIONS, SIZES, Colour, Size
from soracli.data.world.prompt_reader import SaidObject, read_prompt
from soracli.data.world.words import (
    GROUND_WORDS,
    MOTION_OF,
    RELATIONS,
    SIZE_WORDS,
    SKY_WORDS,
    camera_phrases,
    motion_phrases,
)

_SIZE_OF: Final[dict[str, Size]] = {word: size for size, words in SIZE_WORDS.items() for word in words}
_WORLD: Final = re.compile(r"\b(?:ball|cube|cone)s?\b", re.IGNORECASE)
_TRIES: Final = 50
_CAMERA_WEIGHTS: Final = (5, 1, 1, 1, 1, 1)


def expand_by_rules(prompt: str, rng: random.Random, *, moving: bool = True) -> tuple[str, str]:
    """A long caption that says what a prompt says and names all that it leaves open.

    Content words stay, apart from the forms of verbs ("rolling left" becomes "rolls left") and of number ("two red
    balls" become two objects, a red ball each).

    Args:
        prompt: What the user typed.
        rng: Draws what was not said, so that several expansions differ.
        moving: False for pictures.

    Returns:
        The text, and why it is the prompt itself if it is ("" otherwise).
    """
    said = read_prompt(prompt)
    if said is None:
        reason = "it has words that the world's captions do not" if _WORLD.search(prompt) else "it is not of the world"
        return prompt, f"left as it is: {reason}, and what is added could contradict it"
    if not moving and (said.camera or said.contact or any(item.motion for item in said.objects)):
        return prompt, "left as it is: it tells of motion, which a picture cannot show"
    moving = moving and not said.is_still
    words = []
    for number, item in enumerate(said.objects):
        size, colour, motion = _completed(item, rng, moving)
        place = said.relations.get(number) or rng.choice(tuple(RELATIONS))
        finite, participle = (motion, motion) if moving else ("", "")
        words.append(
            ObjectPhrase(
                f"a {size} {colour} {item.shape}", finite, participle, f"{RELATIONS[place]} it" if number else ""
            )
        )
    ground = said.ground or rng.choice(GROUND_WORDS[rng.choice(GROUNDS)])
    camera = said.camera or rng.choice(camera_phrases(rng.choices(CAMERAS, _CAMERA_WEIGHTS)[0]))
    tone = said.tone or rng.choice(SKY_WORDS)
    template = rng.choice(LONG_MOVING if moving else LONG_STILL)
    text = fill_long(
        template,
        words,
        on=f"on {ground}",
        ground=ground,
        tone=tone,
        camera=camera,
        bumping=said.contact if moving else "",
    )
    return text, ""


def _completed(item: SaidObject, rng: random.Random, moving: bool) -> tuple[str, str, str]:
    """Size, colour and motion in words; combinations that training never shows are avoided where that is open."""
    for _ in range(_TRIES):
        size = item.size or rng.choice(SIZE_WORDS[rng.choice(SIZES)])
        colour: Colour = rng.choice(COLOURS) if item.colour is None else item.colour
        motion = item.motion or rng.choice([finite for finite, _ in motion_phrases(rng.choice(MOTIONS), item.shape)])
        if not moving or (_SIZE_OF[size], colour, item.shape, MOTION_OF[motion]) not in HELD_OUT:
            break
    return size, colour, motion
