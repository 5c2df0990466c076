"""Rates, times left and their words, against work done at a known speed."""

from __future__ import annotations

import pytest

from soracli.cli.pace import Pace, duration, figures_text


def test_even_work_has_its_rate() -> None:
    pace = Pace(total=100)
    for second in range(11):
        pace.advance(2, now=float(second))
    assert pace.rate == pytest.approx(2.0)
    assert pace.seconds_left == pytest.approx((100 - 22) / 2)
    assert pace.count_text("steps") == "22/100 steps"
    assert pace.rate_text("steps") == "2 steps/s, 39s left"


def test_what_a_resumed_run_had_done_before_took_no_time() -> None:
    pace = Pace(total=6000)
    pace.advance(5000, now=0.0)
    assert (pace.rate, pace.rate_text("steps")) == (None, "")
    pace.advance(1, now=1.0)
    assert pace.rate == pytest.approx(1.0)


def test_a_change_of_speed_shows_after_a_minute() -> None:
    pace = Pace(total=None)
    for second in range(200):
        pace.advance(10 if second < 100 else 1, now=float(second))
    assert pace.rate == pytest.approx(1.0)
    assert pace.seconds_left is None


def test_slow_work_is_told_in_seconds_each() -> None:
    pace = Pace(total=10)
    pace.advance(1, now=0.0)
    pace.advance(1, now=20.0)
    assert pace.rate_text("clips") == "20 s/clip, 2m 40s left"


def test_no_time_between_counts_is_no_rate() -> None:
    pace = Pace(total=10)
    pace.advance(1, now=3.0)
    pace.advance(1, now=3.0)
    assert pace.rate is None


def test_fractions_are_counted() -> None:
    pace = Pace(total=60.0)
    pace.advance(0.25, now=0.0)
    assert pace.count_text("s of video") == "0.2/60 s of video"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (65, "1m 05s"), (7380, "2h 03m"), (273600, "3d 04h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_figures() -> None:
    assert figures_text({"loss": 0.314159, "lr": 1e-4, "phase": "warm-up"}) == "loss=0.3142 lr=0.0001 phase=warm-up"
