"""Byte-pair tokens learned from captions; any text in any script can be written with them."""

from __future__ import annotations

import json
from collections.abc import Iterable
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


def encode_text(tokenizer: Tokenizer, text: str, max_tokens: int) -> list[int]:
    """Token numbers of a text, cut after ``max_tokens``; the empty text is one mark."""
    # A hundred thousand characters must not cost more than what is kept of them: a token is one byte at least.
    ids: list[int] = tokenizer.encode(text[: 64 * max_tokens]).ids if text.strip() else tokenizer.encode("").ids[:1]
    return ids[:max_tokens]


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json``."""
    write_text_atomic(folder / "tokenizer.json", tokenizer.to_str())


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
