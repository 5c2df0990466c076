"""Exact pairs of before and after: a scene, one thing changed in it, and the words that ask for the change.

Everything else is drawn from the same numbers: light, sky, the ground's pattern and every object that the edit is not
about, which goes the same way at every moment. An edit that would push another object off its path is not made, nor one
of an object that nobody sees. Words are in ``edit_words``. To reverse the motion is to show the same frames from the
last to the first: exact, of the whole video only, and the one edit that is no scene of the grammar.
Source: the pairs of InstructPix2Pix (Brooks et al. 2022, arXiv:2211.09800, section 3.1). Differs from the source: a
renderer makes them, not a language model and prompt-to-prompt, so they are right and none needs filtering.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from soracli.data.world.captions import facts
from soracli.data.world.edit_words import (
    EDIT_KINDS,
    EditKind,
    names_of,
    say_add,
    say_camera,
    say_colour,
    say_ground,
    say_remove,
    say_reverse,
    say_shape,
    say_size,
)
from soracli.data.world.grammar import (
    ARENA,
    CAMERAS,
    COLOURS,
    GROUNDS,
    RADIUS,
    SHAPES,
    Scene,
    SceneObject,
    Size,
    Split,
    is_free,
    sample_camera_rate,
    sample_object,
    sample_scene,
)
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene

OBJECT_ATTRIBUTES = ("colour", "shape", "size", "motion")
_STILL_KINDS: tuple[EditKind, ...] = ("colour", "shape", "size", "remove", "add", "ground")
"""Edits that a picture of the first frame shows."""
_TRIES = 4
"""Random places and radii that are tried before another edit is."""
_CHECKED_EVERY = 1 / 12
_GLANCE, _FEWEST_PIXELS = 32, 6
"""Side of the picture in which the object must be seen at first, and its pixels there: a small ball has about 15."""
_SAME_PLACE = 1e-4
"""Units within which two paths are the same."""


@dataclass(frozen=True)
class Edit:
    """A scene and what becomes of it.

    Attributes:
        kind: What is changed.
        before: The scene.
        after: The edited scene; the same one if the motion is reversed.
        number: Which object it is about, by its number in ``before``; None for the ground, the camera and the whole.
            Of an added object its number in ``after``.
        origin: Of each object of ``after`` its number in ``before``; None for an added one.
    """

    kind: EditKind
    before: Scene
    after: Scene
    number: int | None
    origin: tuple[int | None, ...]

    @property
    def is_reversed(self) -> bool:
        """Whether the edited video is the other one from its end to its beginning."""
        return self.kind == "reverse"

    @property
    def shows_at_once(self) -> bool:
        """Whether the first frame alone shows it."""
        return self.kind in _STILL_KINDS


def draw_edit(seed: int, index: int, *, seconds: float, split: Split = "train") -> Edit:
    """Draw edit ``index`` of the world ``seed``; each kind is as likely, where the scene has room for it.

    Args:
        seed: Which world; ``before`` is its scene ``index``.
        index: Which edit; the same numbers always give the same one.
        seconds: How long the other objects must go the same way, not negative; 0 draws edits of pictures alone.
        split: "train" shows no held-out combination, neither before nor after; "held_out" does before, "any" may.
    """
    rng = random.Random(f"sora edit {seed} {index} {split} {seconds}")
    before = sample_scene(seed, index, split=split)
    kinds = list(EDIT_KINDS if seconds > 0 else _STILL_KINDS)
    rng.shuffle(kinds)
    # Another ground always fits, so the last line is never reached.
    for kind in kinds:
        for edit in _CANDIDATES[kind](before, split, rng):
            if split == "train" and edit.after.held_out:
                continue
            if _is_seen(edit) and _others_stay(edit, seconds):
                return edit
    raise AssertionError(f"no edit fits scene {index} of the world {seed}")


def instruct(edit: Edit, rng: random.Random, *, moving: bool = True) -> str:
    """Ask for an edit in words: "make the ball blue".

    Args:
        edit: What is asked for.
        rng: Chooses the phrasing.
        moving: False for a picture of the first frame, of which no motion is said.
    """
    if edit.kind == "reverse":
        return say_reverse(rng)
    if edit.kind == "ground":
        return say_ground(edit.after.ground, rng)
    if edit.kind == "camera":
        return say_camera(edit.after.camera, rng)
    assert edit.number is not None
    if edit.kind == "add":
        return say_add(edit.after.objects[edit.number], moving, rng)
    it = rng.choice(names_of(edit.before, edit.number))
    if edit.kind == "remove":
        return say_remove(it, rng)
    made = edit.after.objects[edit.number]
    if edit.kind == "colour":
        return say_colour(it, made.colour, rng)
    return say_shape(it, made.shape, rng) if edit.kind == "shape" else say_size(it, made.size, rng)


def edit_frames(
    edit: Edit, times: Tensor, height: int, width: int, *, samples: int = 9, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Both videos ``(T, H, W, 3)`` uint8.

    Args:
        edit: What is drawn.
        times: ``(T,)`` seconds from the start of the scene.
        height: Rows of pixels.
        width: Columns of pixels.
        samples: Rays through each pixel on an edge, a square number.
        device: Where they are drawn; None is the CPU.
    """
    scenes = (edit.before,) if edit.is_reversed else (edit.before, edit.after)
    position = simulate(scenes, times).position
    frames = [
        render_scene(scene, where.to(device), times.to(device), height, width, samples=samples).frames
        for scene, where in zip(scenes, position, strict=True)
    ]
    return frames[0], frames[0].flip(0) if edit.is_reversed else frames[1]


def kept_attributes(edit: Edit, number: int) -> tuple[str, ...]:
    """Which of ``OBJECT_ATTRIBUTES`` object ``number`` of ``after`` must have kept."""
    if edit.origin[number] is None:
        return ()
    if edit.is_reversed:
        return tuple(name for name in OBJECT_ATTRIBUTES if name != "motion")
    about = edit.number == edit.origin[number]
    return tuple(name for name in OBJECT_ATTRIBUTES if not (about and name == edit.kind))


def keeps_ground(edit: Edit) -> bool:
    """Whether the ground must stay."""
    return edit.kind != "ground"


def keeps_camera(edit: Edit) -> bool:
    """Whether the camera must go the same way; backwards only a still one does."""
    return edit.kind != "camera" and not (edit.is_reversed and edit.before.camera != "still")


def edit_facts(edit: Edit) -> dict[str, Any]:
    """What changes and what must stay, as plain JSON values in the words of the grammar.

    Returns:
        ``kind``; ``before`` and ``after`` as ``captions.facts`` (of a reversed video both are those of the scene);
        ``number`` and ``origin`` as in ``Edit``; ``kept``: of each object of ``after`` the names of its attributes that
        stay, and whether ground, camera and the number of objects do.
    """
    return {
        "kind": edit.kind,
        "before": facts(edit.before),
        "after": facts(edit.after),
        "number": edit.number,
        "origin": list(edit.origin),
        "kept": {
            "objects": [list(kept_attributes(edit, number)) for number in range(len(edit.after.objects))],
            "ground": keeps_ground(edit),
            "camera": keeps_camera(edit),
            "count": edit.kind not in ("add", "remove"),
        },
    }


def _is_seen(edit: Edit) -> bool:
    """Whether the object that the edit is about is not hidden at the first frame."""
    if edit.number is None:
        return True
    scene = edit.after if edit.kind == "add" else edit.before
    position = torch.tensor([[item.position for item in scene.objects]])  # (1, N, 3)
    shown = render_scene(scene, position, torch.zeros(1), _GLANCE, _GLANCE, samples=1).object_index
    return int((shown == edit.number).sum()) >= _FEWEST_PIXELS


def _others_stay(edit: Edit, seconds: float) -> bool:
    """Whether all objects that the edit is not about go the same way, before and after."""
    if edit.kind not in ("size", "add", "remove") or seconds <= 0:
        return True
    times = torch.arange(0, seconds + _CHECKED_EVERY, _CHECKED_EVERY)
    before, after = simulate([edit.before, edit.after], times).position  # 2 (T, N, 3)
    about = edit.number if edit.kind == "size" else None
    pairs = [(old, new) for new, old in enumerate(edit.origin) if old is not None and old != about]
    return all(bool(((before[:, old] - after[:, new]).abs() < _SAME_PLACE).all()) for old, new in pairs)


def _named(scene: Scene, rng: random.Random) -> list[int]:
    """Objects that words can tell from all others, in any order."""
    numbers = [number for number in range(len(scene.objects)) if names_of(scene, number)]
    rng.shuffle(numbers)
    return numbers


def _with_object(kind: EditKind, scene: Scene, number: int, item: SceneObject) -> Edit:
    objects = (*scene.objects[:number], item, *scene.objects[number + 1 :])
    return Edit(kind, scene, replace(scene, objects=objects), number, tuple(range(len(objects))))


def _stays_apart(edit: Edit) -> bool:
    """Whether the edited object can still be told from all others by colour and shape."""
    assert edit.number is not None
    item = edit.after.objects[edit.number]
    others = (other for place, other in enumerate(edit.after.objects) if place != edit.number)
    return all((other.colour, other.shape) != (item.colour, item.shape) for other in others)


def _recolour(scene: Scene, split: Split, rng: random.Random) -> Iterator[Edit]:
    for number in _named(scene, rng):
        item = scene.objects[number]
        for colour in rng.sample(COLOURS, len(COLOURS)):
            edit = _with_object("colour", scene, number, replace(item, colour=colour))
            if colour != item.colour and _stays_apart(edit):
                yield edit


def _reshape(scene: Scene, split: Split, rng: random.Random) -> Iterator[Edit]:
    for number in _named(scene, rng):
        item = scene.objects[number]
        for shape in rng.sample(SHAPES, len(SHAPES)):
            edit = _with_object("shape", scene, number, replace(item, shape=shape))
            if shape != item.shape and _stays_apart(edit):
                yield edit


def _resize(scene: Scene, split: Split, rng: random.Random) -> Iterator[Edit]:
    for number in _named(scene, rng):
        item = scene.objects[number]
        for _ in range(_TRIES):
            size: Size = "small" if item.size == "large" else "large"
            made = replace(item, size=size, radius=rng.uniform(*RADIUS[size]))
            others = [*scene.objects[:number], *scene.objects[number + 1 :]]
            inside = max(abs(made.position[0]), abs(made.position[2])) <= ARENA - made.radius
            if inside and is_free(made, others):
                yield _with_object("size", scene, number, made)


def _remove(scene: Scene, split: Split, rng: random.Random) -> Iterator[Edit]:
    for number in _named(scene, rng) if len(scene.objects) > 1 else ():
        origin = tuple(place for place in range(len(scene.objects)) if place != number)
        objects = tuple(scene.objects[place] for place in origin)
        yield Edit("remove", scene, replace(scene, objects=objects), number, origin)


def _add(scene: Scene, split: Split, rng: random.Random) -> Iterator[Edit]:
    count = len(scene.objects)
    for _ in range(_TRIES if count < 3 else 0):
        item = sample_object(rng, "any" if split == "any" else "train", first=False)
        after = replace(scene, objects=(*scene.objects, item))
        edit = Edit("add", scene, after, count, (*range(count), None))
        if is_free(item, scene.objects) and _stays_apart(edit):
            yield edit


def _whole(kind: EditKind, scene: Scene, **changes: Any) -> Edit:
    return Edit(kind, scene, replace(scene, **changes), None, tuple(range(len(scene.objects))))


def _new_ground(scene: Scene, split: Split, rng: random.Random) -> Iterator[Edit]:
    yield _whole("ground", scene, ground=rng.choice([ground for ground in GROUNDS if ground != scene.ground]))


def _new_camera(scene: Scene, split: Split, rng: random.Random) -> Iterator[Edit]:
    camera = rng.choice([camera for camera in CAMERAS if camera != scene.camera])
    yield _whole("camera", scene, camera=camera, camera_rate=sample_camera_rate(camera, rng))


def _reverse(scene: Scene, split: Split, rng: random.Random) -> Iterator[Edit]:
    if any(item.motion != "rest" for item in scene.objects):
        yield _whole("reverse", scene)


_CANDIDATES: dict[EditKind, Callable[[Scene, Split, random.Random], Iterator[Edit]]] = {
    "colour": _recolour,
    "shape": _reshape,
    "size": _resize,
    "remove": _remove,
    "add": _add,
    "ground": _new_ground,
    "camera": _new_camera,
    "reverse": _reverse,
}
