"""Drift of videos whose change is known: one fades, one stands still, one begins again; and of true renders."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from soracli.core.progress import SilentReporter
from soracli.data.world.grammar import HELD_OUT
from soracli.metrics.obedience import ObjectWords, SceneWords
from soracli.models.judge import Judge
from soracli.pipelines.evaluate_drift import (
    FIRST_PROMPT,
    GENERATED,
    PICTURE,
    RENDER,
    DriftReport,
    WindowObjects,
    compare_objects,
    evaluate_drift,
    long_figures,
    long_prompts,
    sliding_name,
)
from soracli.pipelines.evaluate_obedience import render
from tests.pipelines.tiny_eval import FPS, JUDGE, SIDE, flat, pretend_maker

CPU = torch.device("cpu")
SECONDS = 20.0


def _noise(num_frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    small = torch.randint(0, 200, (num_frames, 3, 8, 8), generator=generator).float()
    large = torch.nn.functional.interpolate(small, (SIDE, SIDE))
    return large.permute(0, 2, 3, 1).to(torch.uint8)


def _video(prompt: str, seed: int, num_frames: int) -> Tensor:
    if seed == 10:  # fades to a quarter
        fade = torch.linspace(1, 0.25, num_frames)[:, None, None, None]
        return (_noise(num_frames, 1).float() * fade).to(torch.uint8)
    if seed == 11:
        return flat(77, num_frames)
    part = _noise(num_frames // 2, 2)  # the second half is the first once more
    return torch.cat([part, part])


def measure(make: Any, count: int, seed: int, **given: Any) -> tuple[DriftReport, list[Tensor]]:
    torch.manual_seed(3)
    judge = Judge(JUDGE).eval()
    known = {"count": count, "seed": seed, "device": CPU, "reporter": SilentReporter(), "seconds": SECONDS}
    return evaluate_drift(pretend_maker(make, **given.pop("maker", {})), judge, **{**known, **given})


def test_known_videos_have_known_figures() -> None:
    report, shown = measure(_video, 3, 10)
    fading, still, twice = (item.figures[GENERATED] for item in report.videos)
    assert len(fading.windows) == len(fading.objects) == 4 and fading.frozen == 0
    assert fading.drift.colour == pytest.approx(100 / 255 * 0.75 * 0.75, rel=0.1)
    expected = 100 * ((0.25 + 0.1875 / 2) / (1 - 0.1875 / 2) - 1)
    for name in ("contrast", "sharpness", "colourfulness"):
        assert getattr(fading.drift, name) == pytest.approx(expected, abs=5), name
    assert fading.largest_repeat < 0.3
    assert still.frozen == 4 and still.drift.sharpness == 0 and still.largest_repeat == 0
    assert twice.largest_repeat == pytest.approx(1, abs=1e-3) and twice.frozen == 0
    assert [item.seed for item in report.videos] == [10, 11, 12]
    assert report.videos[0].prompt == FIRST_PROMPT
    for item in report.videos:
        true = item.figures[RENDER]
        assert len(true.windows) == 4 and true.frozen == 0
    assert all(len(frames) == 8 for frames in shown)
    for word in ("3 videos of 20 s", "2000010", FIRST_PROMPT):
        assert word in report.protocol


def _render(prompt: str, seed: int, num_frames: int) -> Tensor:
    scene = long_prompts(1 + seed, 0)[seed].scene
    return render(scene, pretend_maker(_video), num_frames / FPS, CPU)


def _frozen(prompt: str, seed: int, num_frames: int) -> Tensor:
    return _render(prompt, seed, 1).expand(num_frames, -1, -1, -1)


def test_a_true_render_does_not_drift_and_a_frozen_video_does_not_win() -> None:
    sliding = lambda prompt, seed, num_frames, window: _frozen(prompt, seed, num_frames)  # noqa: E731
    report, _ = measure(_render, 2, 0, maker={"sliding": sliding}, windows=[3])
    assert list(report.figures) == [GENERATED, sliding_name(3)]
    true, frozen = report.figures.values()
    assert set(true.beyond_render) >= {*PICTURE, "count", "colours"}
    assert all(mean.mean == 0 and not mean.error for mean in true.beyond_render.values())
    assert true.dynamic_degree == true.last_dynamic_degree == 1
    assert frozen.dynamic_degree == frozen.last_dynamic_degree == 0
    assert all(item.figures[sliding_name(3)].frozen == 4 for item in report.videos)
    for name in PICTURE:  # what stands still has no change of its own, so what is left is the render's, taken away
        changes = [getattr(item.figures[RENDER].drift, name) for item in report.videos]
        assert frozen.beyond_render[name].mean == pytest.approx(-sum(changes) / 2)


def test_objects_are_compared_with_those_asked_for() -> None:
    asked = SceneWords((ObjectWords("red", "ball", "small"), ObjectWords("blue", "cube")), count=2)
    ball, cube = ObjectWords("red", "ball", "large"), ObjectWords("blue", "cube", "small")
    assert compare_objects(asked, [cube, ball]) == WindowObjects(count=1, colours=1, sizes=0)
    small = replace(ball, size="small")
    assert compare_objects(asked, [small]) == WindowObjects(count=0, colours=0.5, sizes=1)
    assert compare_objects(asked, [small, replace(cube, colour="green")]).colours == 0.5
    assert compare_objects(replace(asked, objects=asked.objects[1:]), [cube]).sizes is None
    assert compare_objects(asked, []) == WindowObjects(count=0, colours=0, sizes=0)


def test_a_short_video_is_one_window() -> None:
    torch.manual_seed(3)
    asked = long_prompts(1, 0)[0].asked
    figures = long_figures(Judge(JUDGE).eval(), _noise(8, 0), FPS, asked)
    assert len(figures.windows) == 1 and figures.drift.colour == 0


def test_prompts_begin_with_the_readme_and_name_what_moves_for_ever() -> None:
    prompts = long_prompts(6, 0)
    assert [item.text for item in prompts[:2]] == [item.text for item in long_prompts(2, 0)]
    assert prompts[0].text == FIRST_PROMPT and len({item.text for item in prompts}) == 6
    assert all(item.style == "short" and not item.held_out for item in prompts[1:])
    assert not {thing.combination for item in prompts[1:] for thing in item.scene.objects} & HELD_OUT
    for item in prompts:
        moves = {thing.motion for thing in item.scene.objects} - {"rest", "fall"}
        assert moves or item.scene.camera.startswith(("orbit", "pan"))
        assert item.scene.camera != "move in"
        assert item.asked.camera == item.scene.camera or item.scene.camera == "still"
        assert all(thing.motion for thing in item.asked.objects)
