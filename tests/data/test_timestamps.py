"""Rates found from frame times against the rates that made them, with rounding, jitter, gaps and lying headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.timestamps import snap_rate, timing_of
from soracli.data.video_info import frames_in

RATES = [10.0, 12.0, 12.5, 15.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0, 120.0]


@given(rate=st.sampled_from(RATES), count=st.integers(2, 2000), unit=st.sampled_from([1e-3, 1 / 90_000]))
def test_a_constant_rate_is_found_whatever_the_clock(rate: float, count: int, unit: float) -> None:
    times = [round(k / rate / unit) * unit for k in range(count)]
    for said in (rate, round(rate, 2), 0.0):
        timing = timing_of(times, times[-1] + 1 / rate, 0.0, said)
        assert not timing.variable
        assert timing.num_frames == count
        assert timing.fps == pytest.approx(rate, rel=unit * rate / (count - 1) + 1e-6)


def test_a_lying_header_is_not_believed() -> None:
    times = [k / 24 for k in range(48)]
    assert timing_of(times, 2.0, 0.0, 90_000.0).fps == 24
    assert timing_of(times, 2.0, 0.0, 30.0).num_frames == 48


def test_gaps_make_it_variable_at_the_usual_rate() -> None:
    times = [0, 1 / 30, 2 / 30, 5.0, 5 + 1 / 30, 5 + 2 / 30]
    timing = timing_of(times, 5.1, 0.0, 1.2)
    assert timing.variable
    assert timing.fps == 30
    assert timing.num_frames == 153


def test_frames_at_one_moment() -> None:
    assert timing_of([0.0, 0.0, 0.0], 0.0, 0.0, 0.0).num_frames == 1


def test_one_frame() -> None:
    assert timing_of([0.0], 0.04, 0.0, 0.0).fps == 25
    assert timing_of([0.0], 0.0, 0.0, 0.0).num_frames == 1


def test_rounded_rates_snap() -> None:
    assert snap_rate(29.97) == 30000 / 1001
    assert snap_rate(23.98) == 24000 / 1001
    assert snap_rate(24.0004) == 24
    assert snap_rate(12.5) == 12.5


@given(count=st.integers(1, 10_000), rate=st.sampled_from(RATES))
def test_frames_in_a_length(count: int, rate: float) -> None:
    assert frames_in(count / rate, rate) == count
