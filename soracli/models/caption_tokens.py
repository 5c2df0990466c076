"""Captions as rows of token numbers, and back.

Axes: B captions, L tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soracli.models.captioner import MARK
from soracli.models.tokenizer import encode_text

IGNORED = -100
"""Target where nothing is learnt."""


@dataclass(frozen=True)
class CaptionTokens:
    """Captions side by side.

    Attributes:
        tokens: ``(B, L)`` int64: the mark, the words, the mark, and marks up to the longest.
        targets: ``(B, L)`` int64, what comes after each token; ``IGNORED`` from the last mark on, and after the last
            word of a caption that was cut: it does not end there.
        ends: ``(B,)`` int64, where the last mark of each stands.
    """

    tokens: Tensor
    targets: Tensor
    ends: Tensor

    def to(self, device: torch.device) -> CaptionTokens:
        """The same on a device."""
        return CaptionTokens(self.tokens.to(device), self.targets.to(device), self.ends.to(device))


def caption_tokens(tokenizer: Tokenizer, captions: Sequence[str], max_tokens: int) -> CaptionTokens:
    """Captions in tokens, each cut so that its marks are among ``max_tokens``."""
    texts = [encode_text(tokenizer, caption, max_tokens) for caption in captions]
    longest = max(min(len(text) + 1, max_tokens) for text in texts)
    tokens = torch.full((len(texts), longest), MARK)
    targets = torch.full((len(texts), longest), IGNORED)
    ends = torch.empty(len(texts), dtype=torch.int64)
    for row, text in enumerate(texts):
        is_whole = len(text) < max_tokens
        kept = text if is_whole else text[:-1]
        tokens[row, : len(kept)] = torch.tensor(kept)
        after = [*kept[1:], *([MARK] if is_whole else [])]
        targets[row, : len(after)] = torch.tensor(after, dtype=torch.int64)
        ends[row] = len(kept)
    return CaptionTokens(tokens, targets, ends)


def caption_text(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """A caption of its tokens, on one line; bytes that are no UTF-8 are left out."""
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=True)
    return " ".join(text.replace("\ufffd", "").split())
