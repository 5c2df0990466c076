"""Drift of videos whose change is known: one fades, one stands still, one begins again; and of true renders."""

import pytest
import torch
from torch import Tensor

from soracli.core.progress import SilentReporter
from soracli.data.world.grammar import HELD_OUT
from soracli.pipelines.evaluate_drift import FIRST_PROMPT, evaluate_drift, long_figures, long_prompts
from tests.pipelines.tiny_eval import FPS, SIDE, flat, pretend_maker

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


def test_known_videos_have_known_figures() -> None:
    maker = pretend_maker(_video)
    report, shown = evaluate_drift(
        maker, count=3, seed=10, device=torch.device("cpu"), reporter=SilentReporter(), seconds=SECONDS
    )
    fading, still, twice = (item.generated for item in report.videos)
    assert len(fading.windows) == 4 and fading.frozen == 0
    assert fading.drift.colour == pytest.approx(100 / 255 * 0.75 * 0.75, rel=0.1)
    assert fading.drift.contrast == pytest.approx((0.25 + 0.1875 / 2) / (1 - 0.1875 / 2), rel=0.1)
    assert fading.largest_repeat < 0.3
    assert still.frozen == 4 and still.drift.motion == 1 and still.largest_repeat == 0
    assert twice.largest_repeat == pytest.approx(1, abs=1e-3) and twice.frozen == 0
    assert [item.seed for item in report.videos] == [10, 11, 12]
    assert report.videos[0].prompt == FIRST_PROMPT
    for item in report.videos:
        assert len(item.render.windows) == 4 and abs(item.render.drift.saturation) < 0.1
    assert all(len(frames) == 8 for frames in shown)
    for word in ("3 videos of 20 s", "2000010", FIRST_PROMPT):
        assert word in report.protocol


def test_a_true_bounce_moves_all_the_time() -> None:
    maker = pretend_maker(_video)
    (item,) = evaluate_drift(
        maker, count=1, seed=0, device=torch.device("cpu"), reporter=SilentReporter(), seconds=SECONDS
    )[0].videos
    assert item.render.frozen == 0 and 0.7 < item.render.drift.motion < 1.4
    assert item.render.drift.colour < 0.02


def test_a_short_video_is_one_window() -> None:
    figures = long_figures(_noise(8, 0), FPS)
    assert len(figures.windows) == 1 and figures.drift.colour == 0


def test_prompts_begin_with_the_readme() -> None:
    prompts = long_prompts(4, 0)
    assert [item.text for item in prompts[:2]] == [item.text for item in long_prompts(2, 0)]
    assert prompts[0].text == FIRST_PROMPT and len({item.text for item in prompts}) == 4
    assert all(item.style == "short" and not item.held_out for item in prompts[1:])
    assert not {thing.combination for item in prompts[1:] for thing in item.scene.objects} & HELD_OUT
