"""Length, variety and repetition by hand, in several scripts, and what holds for all captions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.metrics.caption_text import text_figures, words_of


def test_by_hand():
    found = text_figures(["A red ball.", "a red ball", "one, two three four; one two three four"])
    assert (found.captions, found.words, found.shortest, found.longest) == (3, 14 / 3, 3, 8)
    assert found.vocabulary == 7 and found.distinct == 1 / 3 and found.repetitive == 1 / 3
    assert found.distinct_pairs == 6 / 11  # a red, red ball, one two, two three, three four, four one; of 2 + 2 + 7


def test_scripts_without_blanks_have_words():
    assert words_of("猫が走る fast") == ["猫", "が", "走", "る", "fast"]
    assert words_of("Кошка бежит") == ["кошка", "бежит"]
    assert text_figures(["猫が走る"]).words == 4


@given(captions=st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_bounds(captions):
    found = text_figures(captions)
    assert 0 <= found.shortest <= found.words <= found.longest
    assert 0 <= found.distinct <= 1 and 0 < found.distinct_pairs <= 1 and 0 <= found.repetitive <= 1
    again = text_figures(captions * 2)
    assert again.distinct == 0 and again.vocabulary == found.vocabulary and again.words == pytest.approx(found.words)


def test_no_captions():
    with pytest.raises(ValueError, match="no captions"):
        text_figures([])
