"""Figures of long videos: against videos whose figures are known by hand, and repeats that were put in."""

import pytest
import torch
from torch import Tensor

from soracli.metrics.drift import (
    Drift,
    colourfulness,
    drift_between,
    largest_repeat,
    per_cent_change,
    window_figures,
)

FPS = 4.0


def _walk(num_frames: int, seed: int, size: int = 32) -> Tensor:
    """A bright square on a random walk over a grey ramp."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(-3, 4, (num_frames, 2), generator=generator).cumsum(0) + 12
    places = steps.clamp(0, size - 8).tolist()
    ramp = torch.linspace(40, 120, size).to(torch.uint8)
    video = ramp[None, None, :, None].expand(num_frames, size, size, 3).clone()
    for frame, (y, x) in zip(video, places, strict=True):
        frame[y : y + 8, x : x + 8] = 250
    return video


def test_flat_colours() -> None:
    video = torch.empty(20, 8, 8, 3, dtype=torch.uint8)
    video[:] = torch.tensor([255, 0, 51], dtype=torch.uint8)
    (window,) = window_figures(video, FPS)
    assert window.colour == pytest.approx((1, 0, 0.2))
    assert window.saturation == pytest.approx(1)
    across, along = 1.0, (1 + 0) / 2 - 0.2  # opponent colours, everywhere the same
    assert window.colourfulness == pytest.approx(0.3 * (across**2 + along**2) ** 0.5)
    assert (window.sharpness, window.contrast, window.motion) == pytest.approx((0, 0, 0))
    assert window.frozen and window.seconds == 5


def test_stripes_that_swap() -> None:
    """Columns black, white, black, ...; each frame the other way round."""
    columns = torch.arange(8) % 2
    frames = [((columns + k) % 2 * 255).to(torch.uint8)[None, :, None].expand(8, 8, 3) for k in range(20)]
    (window,) = window_figures(torch.stack(frames), FPS)
    assert window.motion == pytest.approx(1)
    assert window.sharpness == pytest.approx(0.5)  # across all steps are 1, down none
    assert window.contrast == pytest.approx(0.5)
    assert window.saturation == window.colourfulness == 0 and not window.frozen


def test_two_colours_side_by_side_are_spread() -> None:
    frames = torch.zeros(1, 2, 2, 3)
    frames[0, 0] = torch.tensor([1.0, 0.0, 0.0])
    frames[0, 1] = torch.tensor([0.0, 1.0, 0.0])
    # across is 1 above and -1 below, along is a half everywhere
    assert float(colourfulness(frames)) == pytest.approx(1 + 0.3 * 0.5)
    assert float(colourfulness(frames / 2)) == pytest.approx((1 + 0.3 * 0.5) / 2)


@pytest.mark.parametrize(("first", "last", "change"), [(2, 3, 50), (4, 3, -25), (0, 0, 0), (0, 1, float("inf"))])
def test_changes_are_per_cent_of_the_first(first: float, last: float, change: float) -> None:
    assert per_cent_change(first, last) == change


@pytest.mark.parametrize(("num_frames", "lengths"), [(1, [1]), (20, [20]), (29, [29]), (30, [20, 10]), (60, [20] * 3)])
def test_windows_cover_the_video(num_frames: int, lengths: list[int]) -> None:
    windows = window_figures(_walk(num_frames, 0), FPS)
    assert [window.seconds * FPS for window in windows] == lengths
    assert [window.start * FPS for window in windows] == [sum(lengths[:k]) for k in range(len(lengths))]


def test_freezing_and_fading_show() -> None:
    video = torch.cat([_walk(20, 0), _walk(1, 1).expand(20, -1, -1, -1), (_walk(20, 2) // 2)])
    first, still, dark = window_figures(video, FPS)
    assert [first.frozen, still.frozen, dark.frozen] == [False, True, False]
    drift = drift_between(first, dark)
    assert drift.contrast == pytest.approx(-50, abs=10)
    assert drift.sharpness == pytest.approx(-50, abs=10)
    assert drift.colour > 0.1
    assert drift_between(first, first) == Drift(colour=0, sharpness=0, saturation=0, contrast=0, colourfulness=0)


@pytest.mark.parametrize("lag", [20, 27, 33])
def test_a_repeat_is_found_wherever_it_begins(lag: int) -> None:
    video = _walk(80, 3)
    before = largest_repeat(video, FPS)
    assert before < 0.7
    repeated = video.clone()
    repeated[20 + lag : 40 + lag] = video[20:40]
    assert largest_repeat(repeated, FPS) > 0.999
    darker = repeated.clone()
    darker[20 + lag : 40 + lag] = repeated[20 + lag : 40 + lag] // 2
    assert largest_repeat(darker, FPS) > 0.99


def test_stillness_fading_and_short_videos_are_no_repeat() -> None:
    still = _walk(1, 0).expand(80, -1, -1, -1)
    assert largest_repeat(still, FPS) == 0
    fade = torch.arange(0, 240, 3)[:, None, None, None].expand(80, 16, 16, 3).to(torch.uint8)
    assert largest_repeat(fade, FPS) == 0
    assert largest_repeat(_walk(39, 0), FPS) == 0


def test_other_arrays_are_refused() -> None:
    for video in (torch.zeros(4, 8, 8, 3), torch.zeros(4, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            window_figures(video, FPS)
