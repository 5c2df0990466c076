"""Texts as token numbers: byte-pair tokens learned from captions, and beside them those of a frozen encoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from soracli.core.errors import ArtifactError
from soracli.core.files import write_text_atomic

_BEGIN = "<begin>"


def train_tokenizer(captions: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """Learn a byte-level byte-pair encoding.

    Args:
        captions: What to learn from; upper and lower case are one.
        vocabulary_size: Tokens at most, the 256 bytes and a begin mark among them.

    Returns:
        A tokenizer whose texts all begin with one mark, so the empty prompt is that mark alone.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[_BEGIN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN} $A", special_tokens=[(_BEGIN, tokenizer.token_to_id(_BEGIN))]
    )
    return tokenizer


@dataclass(frozen=True)
class PairedTokenizer:
    """Two vocabularies in one numbering: a text is its learned tokens, then those of a frozen encoder.

    Attributes:
        learned: Tokens learned from captions; their numbers are below ``offset``.
        frozen: Tokens of the frozen encoder; ``offset`` is added to their numbers.
        offset: ``TextEncoderConfig.vocabulary_size``.
        positions: Tokens that the frozen encoder can read at most; None: any number.
    """

    learned: Tokenizer
    frozen: Tokenizer
    offset: int
    positions: int | None

    def frozen_limit(self, max_tokens: int) -> int:
        """Frozen tokens of a text at most."""
        return min(max_tokens, self.positions or max_tokens)

    def frozen_ids(self, text: str, max_tokens: int) -> tuple[list[int], bool]:
        """The frozen encoder's own numbers of a text, its marks of beginning and end kept, and whether it was cut."""
        self.frozen.enable_truncation(self.frozen_limit(max_tokens))
        encoding = self.frozen.encode(_beginning(text, max_tokens) if text.strip() else "")
        return encoding.ids, bool(encoding.overflowing)


def encode_text(tokenizer: Tokenizer | PairedTokenizer, text: str, max_tokens: int) -> list[int]:
    """Token numbers of a text, each vocabulary's cut after ``max_tokens``; the empty text is the marks alone."""
    if isinstance(tokenizer, PairedTokenizer):
        frozen = tokenizer.frozen_ids(text, max_tokens)[0]
        return encode_text(tokenizer.learned, text, max_tokens) + [tokenizer.offset + number for number in frozen]
    ids: list[int] = (
        tokenizer.encode(_beginning(text, max_tokens)).ids if text.strip() else tokenizer.encode("").ids[:1]
    )
    return ids[:max_tokens]


def _beginning(text: str, max_tokens: int) -> str:
    # A hundred thousand characters must not cost more than what is kept of them: a token is one byte at least.
    return text[: 64 * max_tokens]


def learned_tokenizer(tokenizer: Tokenizer | PairedTokenizer) -> Tokenizer:
    """The tokens that were learned from captions."""
    return tokenizer.learned if isinstance(tokenizer, PairedTokenizer) else tokenizer


def save_tokenizer(tokenizer: Tokenizer | PairedTokenizer, folder: Path) -> None:
    """Write ``tokenizer.json`` of the learned tokens."""
    write_text_atomic(folder / "tokenizer.json", learned_tokenizer(tokenizer).to_str())


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read ``tokenizer.json``.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    path = folder / "tokenizer.json"
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
        return Tokenizer.from_str(text)
    except FileNotFoundError:
        raise ArtifactError(f"{folder} has no tokenizer.json") from None
    except Exception as error:  # the library raises nothing narrower for a damaged file
        raise ArtifactError(f"{path} is damaged: {error}") from error
