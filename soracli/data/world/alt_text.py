"""Texts as people leave them beside pictures on the web: half is missing, some is wrong or of other things.

They play the originals in the experiment of DALL-E 3 (Betker et al. 2023, section 2): image captions of the internet
leave out what is common knowledge to their writer, and name what has nothing to do with the picture.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from soracli.data.config import AltTextConfig
from soracli.data.world.captions import facts
from soracli.data.world.grammar import CAMERAS, COLOURS, GROUNDS, MOTIONS, SHAPES, SIZES, Motion, Scene, Shape
from soracli.data.world.words import GROUND_WORDS, SIZE_WORDS, SKY_WORDS, camera_phrases, motion_phrases

NOISE: Final = (
    "img 4711",
    "dsc00218.jpg",
    "untitled final v2",
    "free download hd",
    "stock footage id 88213",
    "click here for more",
    "best price guaranteed",
    "photo by admin",
    "#fyp #viral",
    "new arrival sale 30% off",
)
"""What stands beside; no word of it is one of the world's."""

_VALUES: Final[dict[str, Sequence[str]]] = {
    "size": SIZES,
    "colour": COLOURS,
    "shape": SHAPES,
    "motion": MOTIONS,
    "ground": GROUNDS,
    "sky": SKY_WORDS,
    "camera": CAMERAS,
}


def alt_text(scene: Scene, config: AltTextConfig, *, moving: bool, rng: random.Random) -> str:
    """One such text about a scene, in lower case and never empty.

    Every fact (size, colour, shape and, if ``moving``, motion of each object; ground; sky; camera if ``moving``) is
    left out with the chance ``config.omission``; what is said is another value of its kind with the chance
    ``config.error``; with the chance ``config.noise`` one of ``NOISE`` stands before or behind. An object whose shape
    is left out is "something"; one of which nothing is said does not appear.

    Args:
        scene: What it is about.
        config: The rates.
        moving: False for a picture of the first frame.
        rng: Decides everything.
    """
    truth = facts(scene)
    parts = [_object(item, config, moving, rng) for item in truth["objects"]]
    ground = _said("ground", truth["ground"], config, rng)
    sky = _said("sky", truth["sky"], config, rng)
    camera = _said("camera", truth["camera"], config, rng) if moving else None
    parts.append("" if ground is None else f"on {rng.choice(GROUND_WORDS[ground])}")  # type: ignore[index]
    parts.append("" if sky is None else f"{sky} sky")
    parts.append("" if camera is None else rng.choice(camera_phrases(camera)))  # type: ignore[arg-type]
    text = ", ".join(filter(None, parts)) or ("video" if moving else "picture")
    if rng.random() < config.noise:
        beside = rng.choice(NOISE)
        text = f"{beside} - {text}" if rng.random() < 0.5 else f"{text} - {beside}"
    return text


def _object(truth: dict[str, str], config: AltTextConfig, moving: bool, rng: random.Random) -> str:
    kinds = ("size", "colour", "shape", "motion") if moving else ("size", "colour", "shape")
    said = {kind: _said(kind, truth[kind], config, rng) for kind in kinds}
    if not any(said.values()):
        return ""
    shape: Shape = said["shape"] or truth["shape"]  # type: ignore[assignment]
    motion: Motion | None = said.get("motion")  # type: ignore[assignment]
    words = [
        rng.choice(SIZE_WORDS[said["size"]]) if said["size"] else "",  # type: ignore[index]
        said["colour"] or "",
        said["shape"] or "something",
        rng.choice(motion_phrases(motion, shape))[1] if motion else "",
    ]
    return " ".join(filter(None, words))


def _said(kind: str, truth: str, config: AltTextConfig, rng: random.Random) -> str | None:
    """What is said of a fact: the truth, something else, or nothing."""
    if rng.random() < config.omission:
        return None
    if rng.random() < config.error:
        return rng.choice([value for value in _VALUES[kind] if value != truth])
    return truth
