"""Prompts over time: what is shown from which second on, by options, a storyboard or a file's record; torch-free."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import field_validator

from soracli.core.errors import UsageError
from soracli.core.units import format_seconds, parse_moment
from soracli.pipelines.expand_prompt import Expand, expansion_note
from soracli.pipelines.sampling_choice import RECORDED_CHARACTERS, checked_prompt
from soracli.recipe.load import load_section
from soracli.recipe.section import Section


@dataclass(frozen=True)
class Scene:
    """What is shown from a moment on.

    Attributes:
        at: Seconds after the beginning of what is made.
        prompt: What is shown until the next scene.
        asked: What the prompt was expanded from; "" where it is what was typed.
    """

    at: float
    prompt: str
    asked: str = ""


class SceneTable(Section):
    """One ``[[scene]]`` of a storyboard."""

    at: str | float
    """When it begins: seconds, or text such as ``1m20s``."""
    prompt: str
    """What it shows."""

    @field_validator("at", "prompt")
    @classmethod
    def _can_be_read(cls, value: Any, info: Any) -> Any:
        try:
            return parse_moment(value, "the time") if info.field_name == "at" else checked_prompt(value)
        except UsageError as error:
            raise ValueError(str(error)) from None


class Storyboard(Section):
    """A file of scenes."""

    scene: tuple[SceneTable, ...]
    """In the order of time."""


def read_scenes(pairs: Sequence[tuple[str, str]], storyboard: Path | None) -> tuple[Scene, ...]:
    """Scenes of ``--prompt-at TIME PROMPT``, or of a storyboard.

    Raises:
        UsageError: If there are both, a time cannot be read, comes twice or after a later one, or a prompt is empty.
        RecipeError: As ``read_storyboard``.
    """
    if storyboard is not None:
        if pairs:
            raise UsageError(f"both --prompt-at and --storyboard were given; write the scene into {storyboard}")
        return read_storyboard(storyboard)
    scenes = tuple(Scene(parse_moment(at, "--prompt-at"), checked_prompt(prompt)) for at, prompt in pairs)
    _check_order(scenes, [f"--prompt-at {at}" for at, _ in pairs])
    return scenes


def read_storyboard(path: Path) -> tuple[Scene, ...]:
    """Scenes of a TOML file: ``[[scene]]`` tables with ``at`` and ``prompt``.

    Raises:
        RecipeError: If the file cannot be read, or its tables are not such; names the lines and the nearest keys.
        UsageError: If there is no scene, or a time comes twice or after a later one.
    """
    loaded = load_section(Storyboard, path, "storyboard")
    scenes = tuple(Scene(float(table.at), table.prompt) for table in loaded.recipe.scene)
    if not scenes:
        raise UsageError(f'{path} holds no scene: write [[scene]] with at = "20s" and prompt = "..."')
    _check_order(scenes, [loaded.origins[f"scene[{number}].at"] for number in range(len(scenes))])
    return scenes


def _check_order(scenes: Sequence[Scene], places: Sequence[str]) -> None:
    for number in range(1, len(scenes)):
        before, here = scenes[number - 1].at, scenes[number].at
        if any(scene.at == here for scene in scenes[:number]):
            raise UsageError(f"{places[number]}: a scene at {format_seconds(here)} is there already; leave one out")
        if here < before:
            raise UsageError(
                f"{places[number]}: {format_seconds(here)} comes after {format_seconds(before)}; "
                "write scenes in the order of time"
            )


def opening(
    scenes: Sequence[Scene], given: str, *, may_be_absent: bool = False
) -> tuple[str | None, tuple[Scene, ...]]:
    """The prompt of a scene at 0, if there is one, and the later scenes.

    Args:
        scenes: In the order of time.
        given: What says already what is shown at first, such as PROMPT; empty for nothing.
        may_be_absent: Whether nothing need be said of what is shown at first.

    Raises:
        UsageError: If nothing says what is shown first, or two things do.
    """
    if scenes and scenes[0].at == 0:
        if given:
            raise UsageError(f"{given} and a scene at 0s both say what is shown first; leave one out")
        return scenes[0].prompt, tuple(scenes[1:])
    if scenes and not given and not may_be_absent:
        first = format_seconds(scenes[0].at)
        raise UsageError(f"the first scene is at {first}: say with PROMPT, or a scene at 0s, what is shown before")
    return None, tuple(scenes)


def expand_scenes(later: Sequence[Scene], expand: Expand, seed: int) -> tuple[list[Scene], list[str]]:
    """Scenes with their prompts made long, and what a person is told of it."""
    expanded = [(scene, expand(scene.prompt, seed, True)) for scene in later]
    scenes = [scene if one.text == scene.prompt else Scene(scene.at, one.text, scene.prompt) for scene, one in expanded]
    return scenes, [note for _, one in expanded for note in expansion_note(one)]


def check_lengths(later: Sequence[Scene], seconds: float, shortest: float) -> None:
    """Whether each scene is within what is made, and long enough to be seen.

    Args:
        later: Scenes after the first.
        seconds: Length of what is made.
        shortest: Seconds that are made at once at least: those of a latent.

    Raises:
        UsageError: If one is not.
    """
    last, slack = 0.0, 1e-6
    for scene in later:
        said = f"a scene at {format_seconds(scene.at)}"
        if scene.at >= seconds:
            raise UsageError(f"{said} lies beyond the end at {format_seconds(seconds)}; --seconds makes it later")
        if seconds - scene.at < shortest - slack:
            raise UsageError(f"{said} is too near to the end at {format_seconds(seconds)}: {_least(shortest)}")
        if scene.at - last < shortest - slack:
            raise UsageError(f"{said} is too near to that at {format_seconds(last)}: {_least(shortest)}")
        last = scene.at


def _least(shortest: float) -> str:
    return f"this model makes {format_seconds(shortest)} at once"


def shown_at(scenes: Sequence[Scene]) -> Callable[[float], str]:
    """What is shown at a second; before the first scene what the first shows."""
    times = [scene.at for scene in scenes]
    return lambda second: scenes[max(0, bisect_right(times, second + 1e-9) - 1)].prompt


def scenes_record(later: Sequence[Scene]) -> dict[str, Any]:
    """What a file says of the scenes after the first: all that fit, and a hash of all if some do not."""
    if not later:
        return {}
    whole = [[scene.at, scene.prompt] for scene in later]
    sizes = accumulate(len(scene.prompt) + 20 for scene in later)  # a time and what JSON puts around it
    kept = whole[: sum(size <= RECORDED_CHARACTERS for size in sizes)]
    asked = [scene.asked or scene.prompt for scene in later[: len(kept)]]
    record = {"scenes": kept, **({"scenes_asked": asked} if any(scene.asked for scene in later) else {})}
    if len(kept) == len(whole):
        return record
    return {**record, "scenes_sha256": hashlib.sha256(json.dumps(whole).encode()).hexdigest()}


def recorded_scenes(record: Mapping[str, Any]) -> tuple[Scene, ...]:
    """The scenes of a file's record, the first at 0; empty if it has none, or is not to be understood."""
    prompt, later = record.get("expanded", record.get("prompt")), record.get("scenes", [])
    if not isinstance(prompt, str) or not isinstance(later, list):
        return ()
    scenes = [Scene(0.0, prompt)]
    for item in later:
        if not (isinstance(item, list) and len(item) == 2 and isinstance(item[1], str)):
            return ()
        if isinstance(item[0], bool) or not isinstance(item[0], int | float) or not item[0] > scenes[-1].at:
            return ()
        scenes.append(Scene(float(item[0]), item[1]))
    return tuple(scenes)
