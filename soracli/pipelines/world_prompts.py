"""Prompts to measure a model with, drawn from the world's grammar, each with the scene that it tells of."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace

import torch

from soracli.data.world.captions import Style, caption_scene
from soracli.data.world.grammar import HELD_OUT, Scene, sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.prompts import parse_prompt
from soracli.metrics.obedience import ObjectWords, SceneWords, score_scene
from soracli.pipelines.score_judge import scene_words

WORLD_SEEDS = 2_000_000
"""Prompts are of the world ``WORLD_SEEDS + seed``: no recipe, no judge and no evaluation of a VAE draws it."""
_CONTACT_SECONDS = 4.0
"""Objects that bump into each other this early may be said to, as in captions that models are trained on."""


@dataclass(frozen=True)
class WorldPrompt:
    """A prompt and the scene behind it.

    Attributes:
        text: The prompt.
        asked: What it asks for; what it does not name is None.
        style: How it is written.
        held_out: Whether it names an object of a combination that training never shows.
        scene: A scene that it is true of.
    """

    text: str
    asked: SceneWords
    style: Style
    held_out: bool
    scene: Scene


def draw_prompts(count: int, seed: int) -> list[WorldPrompt]:
    """Prompts for obedience: short and long in turn, and two of training's combinations before two held out.

    A prompt of the held-out half is written until it names size, colour, shape and motion of an object that is held
    out; the other half shows no such object.

    Args:
        count: How many; the first ones are the same for any count.
        seed: Decides everything.
    """
    world = WORLD_SEEDS + seed
    scenes = [sample_scene(world, index, split="held_out" if index % 4 >= 2 else "train") for index in range(count)]
    if not scenes:
        return []
    bumps = simulate(scenes, torch.arange(0, _CONTACT_SECONDS, 1 / 12)).contact[:, -1].tolist()
    return [_write_prompt(world, scene, contact=count > 0) for scene, count in zip(scenes, bumps, strict=True)]


def prompt_for(text: str, seed: int) -> WorldPrompt:
    """A prompt that somebody wrote, with the first scene of the world that it is true of.

    Args:
        text: A prompt of the grammar that names every object's shape.
        seed: Which world.

    Raises:
        ValueError: If it is not of the grammar.
    """
    asked = asked_words(text)
    if asked is None:
        raise ValueError(f"not in the words of the world: {text!r}")
    wanted = replace(asked, camera=asked.camera or "still")
    for index in itertools.count():
        scene = sample_scene(WORLD_SEEDS + seed, index, split="any", num_objects=asked.count)
        answers = score_scene(wanted, scene_words(scene))
        if False not in (answers.colour_and_shape, answers.motion, answers.size, answers.ground, answers.camera):
            break
    return WorldPrompt(text=text, asked=asked, style="short", held_out=scene.held_out, scene=scene)


def asked_words(text: str) -> SceneWords | None:
    """What a prompt of the grammar asks for, None for any other; as many objects as it names."""
    parsed = parse_prompt(text)
    if parsed is None:
        return None
    objects = tuple(ObjectWords(**item) for item in parsed["objects"])
    return SceneWords(objects=objects, ground=parsed["ground"], camera=parsed["camera"], count=len(objects))


def _write_prompt(world: int, scene: Scene, *, contact: bool) -> WorldPrompt:
    style: Style = "long" if scene.index % 2 else "short"
    rng = random.Random(f"prompts {world} {scene.index}")
    while True:
        text = caption_scene(scene, style=style, moving=True, rng=rng, contact=contact)
        asked = asked_words(text)
        assert asked is not None, f"a caption that is not of the grammar: {text}"
        named = {(item.size, item.colour, item.shape, item.motion) for item in asked.objects}
        if not scene.held_out or named & HELD_OUT:
            return WorldPrompt(text=text, asked=asked, style=style, held_out=scene.held_out, scene=scene)
