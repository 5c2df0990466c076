"""Human units against what they mean, for all numbers; every refusal names something valid."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import UsageError
from soracli.core.units import (
    format_seconds,
    parse_aspect,
    parse_fps,
    parse_interval,
    parse_moment,
    parse_seconds,
    parse_size,
    parse_span,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8s", 8),
        ("8", 8),
        ("1.5", 1.5),
        ("0.5s", 0.5),
        ("1m", 60),
        ("1m30s", 90),
        ("1m30", 90),
        (" 1M 30S ", 90),
        ("2h", 7200),
        ("1h2m3.5s", 3723.5),
        ("1.5m", 90),
        (3, 3),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@given(st.integers(0, 100), st.integers(0, 59), st.integers(1, 59))
def test_all_durations(hours: int, minutes: int, seconds: int) -> None:
    assert parse_seconds(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


@given(st.floats(0.01, 500_000))
def test_formatted_durations_are_read_again(seconds: float) -> None:
    assert parse_seconds(format_seconds(seconds)) == pytest.approx(seconds, rel=0.01, abs=0.01)


@pytest.mark.row(67)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("8x", "did you mean 8s?"),
        ("8 minutes", "did you mean 8m?"),
        ("2 hours", "did you mean 2h?"),
        ("500ms", "did you mean 0.5s?"),
        ("1:30", "did you mean 1m30s?"),
        ("-3", "did you mean 3s?"),
        ("", "for example 8s"),
        ("long", "for example 8s"),
        ("nan", "for example 8s"),
        ("0", "above 0"),
        ("0m", "above 0"),
        ("1000h", "longer than a week"),
        (math.inf, "above 0"),
        (math.nan, "above 0"),
        (-1, "above 0"),
    ],
)
def test_wrong_durations(text: str | float, says: str) -> None:
    with pytest.raises(UsageError, match="--excerpt") as caught:
        parse_seconds(text, "--excerpt")
    assert says in str(caught.value)


def test_moments() -> None:
    assert [parse_moment(text, "--at") for text in ("0", "0s", 0, "1m20s", 2.5)] == [0, 0, 0, 80, 2.5]
    for wrong, says in ((-1, "0 or later"), (math.nan, "0 or later"), ("x", "no duration"), ("1000h", "a week")):
        with pytest.raises(UsageError, match=f"--at.*{says}"):
            parse_moment(wrong, "--at")


@given(st.integers(0, 5000), st.integers(1, 5000))
def test_spans(start: int, length: int) -> None:
    assert (
        parse_span(f"{start}s:{start + length}s") == (start, start + length) == parse_span(f"{start}:{start + length}")
    )
    assert parse_span(f" {start}s : ") == (start, None)
    assert parse_span(f":{length}s") == (0, length)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("8s", "is no span"),
        ("1:2:3", "is no span"),
        ("4s:2s", "did you mean 2s:4s?"),
        ("2s:2s", "does not end after it begins"),
        (":0s", "does not end after it begins"),
        ("a:2s", "'a' is no duration"),
        ("1s:b", "'b' is no duration"),
    ],
)
def test_wrong_spans(text: str, says: str) -> None:
    with pytest.raises(UsageError, match="START:END") as caught:
        parse_span(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fps"),
    [("24", 24), ("24fps", 24), ("29.97 FPS", 29.97), ("30000/1001", 30000 / 1001), ("12Hz", 12), (8, 8)],
)
def test_rates(text: str | float, fps: float) -> None:
    assert parse_fps(text) == fps


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("24p", "did you mean 24fps?"),
        ("fast", "for example 24"),
        ("0", "above 0"),
        ("5000", "at most 1000"),
        ("1/0", "1fps"),
    ],
)
def test_wrong_rates(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fps(text)
    assert says in str(caught.value)


@given(st.integers(1, 32768), st.integers(1, 32768))
def test_all_sizes_turn_round(width: int, height: int) -> None:
    assert parse_size(f"{width}x{height}") == (height, width)


@pytest.mark.parametrize(
    ("text", "aspect", "size"),
    [
        ("128x96", None, (96, 128)),
        ("128 X 96", None, (96, 128)),
        ("128×96", None, (96, 128)),
        ("480p", None, (480, 854)),
        ("480p", "16:9", (480, 854)),
        ("480p", "9:16", (854, 480)),
        ("720p", "4:3", (720, 960)),
        ("256p", "1", (256, 256)),
    ],
)
def test_sizes(text: str, aspect: str | None, size: tuple[int, int]) -> None:
    assert parse_size(text, aspect) == size


@pytest.mark.parametrize(
    ("text", "aspect", "says"),
    [
        ("128", None, "did you mean 128x128 or 128p?"),
        ("128,96", None, "did you mean 128x96"),
        ("big", None, "480p with --aspect"),
        ("0x8", None, "outside 1x1"),
        ("40000x8", None, "outside 1x1"),
        ("128x96", "16:9", "--size 96p"),
        ("480p", "wide", "16:9"),
        ("480p", "100:1", "between 1:16 and 16:1"),
        ("480p", "1:0", "between 1:16 and 16:1"),
    ],
)
def test_wrong_sizes(text: str, aspect: str | None, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text, aspect)
    assert says in str(caught.value)


def test_aspects() -> None:
    assert parse_aspect("16:9") == 16 / 9
    assert parse_aspect("2.35") == 2.35


@given(low=st.integers(0, 999), width=st.integers(1, 1000))
def test_intervals(low: int, width: int) -> None:
    high = min(1000, low + width)
    assert parse_interval(f"{low / 1000}:{high / 1000}") == (low / 1000, high / 1000)
    assert parse_interval(f" {low / 1000} : {high / 1000:g} ") == (low / 1000, high / 1000)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.8:0.1", "ends before it begins; did you mean 0.1:0.8?"),
        ("0.5:0.5", "for example 0.1:0.8"),
        ("0.1-0.8", "for example 0.1:0.8"),
        ("0:2", "between 0 (video) and 1 (noise)"),
        ("-1:1", "for example"),
        ("", "for example"),
        ("nan:1", "for example"),
    ],
)
def test_no_intervals(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        parse_interval(text)
