"""How long, how varied and how repetitive captions are, whatever their language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
"""Signs of scripts that set no blanks between words: each counts as a word."""
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_REPEATED: Final = 4


@dataclass(frozen=True)
class TextFigures:
    """Figures of a set of captions.

    Attributes:
        captions: How many.
        words: Mean length, words.
        shortest: Words of the shortest.
        longest: Words of the longest.
        vocabulary: Different words in all of them.
        distinct: Share of captions whose words no other caption has in the same order.
        distinct_pairs: Different pairs of neighbouring words over all pairs (distinct-2; Li et al. 2016,
            arXiv:1510.03055); falls with the number of captions, so compare sets of one size. 1 without pairs.
        repetitive: Share of captions in which the same four words stand twice.
    """

    captions: int
    words: float
    shortest: int
    longest: int
    vocabulary: int
    distinct: float
    distinct_pairs: float
    repetitive: float


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, signs left out."""
    return _WORD.findall(text.lower())


def text_figures(captions: Sequence[str]) -> TextFigures:
    """Figures of captions.

    Raises:
        ValueError: If there are none.
    """
    if not captions:
        raise ValueError("there are no captions")
    texts = [words_of(caption) for caption in captions]
    lengths = [len(words) for words in texts]
    pairs = [pair for words in texts for pair in _runs(words, 2)]
    counts: dict[tuple[str, ...], int] = {}
    for words in texts:
        counts[tuple(words)] = counts.get(tuple(words), 0) + 1
    repeated = [len(set(runs)) < len(runs) for runs in (_runs(words, _REPEATED) for words in texts)]
    return TextFigures(
        captions=len(texts),
        words=sum(lengths) / len(texts),
        shortest=min(lengths),
        longest=max(lengths),
        vocabulary=len({word for words in texts for word in words}),
        distinct=sum(counts[tuple(words)] == 1 for words in texts) / len(texts),
        distinct_pairs=len(set(pairs)) / len(pairs) if pairs else 1.0,
        repetitive=sum(repeated) / len(texts),
    )


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
