"""Answers of language models as plain data: one paragraph, without control characters, cut to a length.

Nothing in an answer is ever followed: whatever it says, it is a text that is stored.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Marks that change the order in which a terminal shows what stands beside them, and invisible ones; the joiner of
# emoji (U+200D) and variation selectors are part of captions.
_HIDDEN: Final = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_THOUGHT: Final = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE: Final = re.compile(r"\A```[^\n]*\n(.*?)\n?```\Z", re.DOTALL)
_REFUSED: Final = re.compile(
    r"(?:i['’]m sorry|i am sorry|sorry,|i can(?:not|['’]t|\s+not)\b|i['’]m unable|i am unable|as an ai\b)",
    re.IGNORECASE,
)


def printable(text: str, limit: int) -> str:
    """A text on one line of at most ``limit`` characters, the last of them ``…`` where it was cut.

    White space becomes single blanks; control characters, halves of surrogate pairs and marks that turn the direction
    of writing are dropped.
    """
    spaced = " ".join(text[: 16 * limit + 1024].split())
    kept = "".join(sign for sign in _HIDDEN.sub("", spaced) if unicodedata.category(sign) not in ("Cc", "Cs"))
    kept = " ".join(kept.split())
    return kept if len(kept) <= limit and len(text) <= 16 * limit + 1024 else kept[: limit - 1].rstrip() + "…"


def clean_answer(text: str, max_words: int) -> tuple[str, str]:
    """An answer as one paragraph, and what was done to it ("" if nothing worth telling).

    A model's thoughts (``<think>``), a code fence and quotation marks around the whole are taken off. What is longer
    than ``max_words`` ends after the last whole sentence before that, if there is one, else at that word.
    """
    text = _THOUGHT.sub(" ", text).strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    for left, right in ('""', "“”", "''"):
        if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
            text = text[1:-1]
    words = text.split()
    kept = " ".join(words[:max_words])
    if len(words) > max_words and (end := max(kept.rfind(sign) for sign in (". ", "! ", "? "))) > 0:
        kept = kept[: end + 1]
    limit = 12 * max_words
    clean = printable(kept, limit)
    if len(words) > max_words or len(clean) >= limit:
        return clean, f"answer of {len(words)} words cut to {len(clean.split())}"
    return clean, ""


def is_refusal(text: str) -> bool:
    """Whether an answer begins as models do that will not do what they were asked."""
    return _REFUSED.match(text.lstrip()) is not None
