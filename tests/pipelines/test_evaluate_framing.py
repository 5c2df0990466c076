"""Framing with objects that are known: figures by hand, the world's own words against what it draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from soracli.core.progress import SilentReporter
from soracli.metrics.framing import Framing, ObjectFraming, ShownObjects, frame_objects
from soracli.models.judge import Judge
from soracli.pipelines import evaluate_framing as module
from soracli.pipelines.evaluate_framing import (
    BESIDE,
    GENERATED,
    FramingReport,
    asked_relations,
    evaluate_framing,
    framing_figures,
    true_objects,
)
from soracli.pipelines.world_prompts import draw_prompts
from tests.pipelines.tiny_eval import FPS, JUDGE, SIDE, flat, pretend_maker


def _evaluate(**given: Any) -> FramingReport:
    known = {"count": 3, "seconds": 0.75, "seed": 5, "device": torch.device("cpu"), "reporter": SilentReporter()}
    maker = pretend_maker(lambda prompt, seed, frames: flat(seed, frames))
    return evaluate_framing(maker, Judge(JUDGE), **{**known, **given})


def test_what_captions_say_of_places_is_what_is_drawn() -> None:
    """Every relation of many prompts holds in the world's own pixels, and turned round none does."""
    times, opposite = (
        torch.arange(4) / FPS,
        {"left": "right", "right": "left", "in front": "behind", "behind": "in front"},
    )
    asked = 0
    for prompt in draw_prompts(40, 3)[1::2]:
        relations = asked_relations(prompt.text)
        shown = true_objects(prompt.scene, times, 48, 64)
        framing = frame_objects(prompt.asked.objects, relations, shown)
        turned = [(one, opposite[word], two) for one, word, two in relations]
        both = zip(framing.relations, frame_objects(prompt.asked.objects, turned, shown).relations, strict=True)
        hidden = [not item.found or item.seen == 0 for item in framing.objects]
        assert all(one != other for one, other in both) or any(hidden)
        assert all(framing.relations) or any(hidden)
        assert framing.objects and all(item.found for item in framing.objects)
        asked += len(relations)
    assert asked > 10
    assert asked_relations("a poem") == []


def test_figures_are_those_of_the_objects() -> None:
    whole = ObjectFraming(found=True, seen=1.0, whole=1.0, off_centre=0.25)
    cut = ObjectFraming(found=True, seen=1.0, whole=0.5, off_centre=0.75)
    missing = ObjectFraming(found=False, seen=0.0, whole=0.0, off_centre=None)
    figures = framing_figures([Framing((whole, missing), (True,)), Framing((cut, missing), (False, True))])
    assert (figures.found.right, figures.found.total) == (2, 4)
    assert (figures.whole, figures.whole_if_found, figures.off_centre) == (0.375, 0.75, 0.5)
    assert figures.placed is not None and (figures.placed.right, figures.placed.total) == (2, 3)
    empty = framing_figures([Framing((missing,), ())])
    assert (empty.whole_if_found, empty.off_centre, empty.placed) == (None, None, None)


def test_every_source_is_looked_at_by_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that finds nothing in what is generated and the truth in renders."""
    prompts = {prompt.text: prompt for prompt in draw_prompts(6, 5)[1::2]}
    scenes = iter(prompt.scene for prompt in prompts.values() for _ in range(2))
    looked: list[Tensor] = []

    def find(judge: Judge, frames: Tensor, fps: float) -> ShownObjects:
        looked.append(frames)
        if int(frames.float().std()) == 0:
            return ShownObjects((), torch.zeros(5, 0, 16, 16, dtype=torch.bool), torch.zeros(5, 0))
        return true_objects(next(scenes), torch.arange(5) / FPS, SIDE, SIDE)

    monkeypatch.setattr(module, "find_objects", find)
    report = _evaluate()
    assert [item.prompt for item in report.prompts] == list(prompts)
    assert [item.seed for item in report.prompts] == [5, 6, 7]
    assert set(report.figures) == {GENERATED, *BESIDE} and len(looked) == 9
    assert report.figures[GENERATED].found.right == 0 and report.figures[GENERATED].whole == 0
    assert report.figures["renders"] == report.figures["renders through the VAE"] == report.figures["truth"]
    assert report.figures["truth"].whole > 0.5
    for word in ("3 long prompts", "0.75 s", "2000005", f"{SIDE}x{SIDE}"):
        assert word in report.protocol


def test_nothing_is_drawn_that_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "render", lambda *given: pytest.fail("drawn"))
    report = _evaluate(count=1, beside=())
    assert set(report.figures) == {GENERATED} == set(report.prompts[0].answers)
