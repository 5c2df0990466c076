"""MiniLM against a plain BERT, head by head in float64, against that of transformers; facts of the real weights."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from soracli.core.errors import ArtifactError
from soracli.models.config import TextEncoderConfig
from soracli.models.text_files import MINILM
from soracli.models.text_frozen import FrozenText, open_frozen
from soracli.models.text_minilm import load_minilm
from tests.models.tiny_bert import CONFIG, bert_files, bert_weights, write_bert

CPU = torch.device("cpu")
IS_INSTALLED = importlib.util.find_spec(MINILM.replace("-", "_")) is not None


def plain_bert(weights: dict[str, Tensor], numbers: list[int], num_layers: int, num_heads: int) -> Tensor:
    """States ``(n, D)``, written from the paper."""
    w = {name: value.double() for name, value in weights.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        return x / (x.square().mean(1, keepdim=True) + 1e-12).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    rows = [
        w["embeddings.word_embeddings.weight"][number]
        + w["embeddings.position_embeddings.weight"][place]
        + w["embeddings.token_type_embeddings.weight"][0]
        for place, number in enumerate(numbers)
    ]
    x = norm(torch.stack(rows), "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{number}" for number in range(num_layers)):
        q, k, v = (linear(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        heads = []
        for some in torch.arange(x.shape[1]).chunk(num_heads):
            scores = q[:, some] @ k[:, some].T / math.sqrt(len(some))
            heads.append(scores.exp() / scores.exp().sum(1, keepdim=True) @ v[:, some])
        x = norm(
            x + linear(torch.cat(heads, 1), f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm"
        )
        hidden = linear(x, f"{layer}.intermediate.dense")
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        x = norm(x + linear(hidden, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@settings(max_examples=25)
@given(numbers=st.lists(st.integers(0, 29), min_size=1, max_size=24))
def test_states_are_those_of_a_plain_bert(folder: Path, numbers: list[int]) -> None:
    module = load_minilm(bert_files(folder)).double()
    expected = plain_bert(bert_weights(), numbers, num_layers=2, num_heads=3)
    torch.testing.assert_close(module(torch.tensor(numbers)), expected, atol=1e-10, rtol=1e-10)


def test_states_are_those_of_transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertModel.from_pretrained(str(folder), local_files_only=True).eval()
    numbers = torch.tensor([2, 5, 7, 9, 3])
    with torch.no_grad():
        expected = theirs(input_ids=numbers[None]).last_hidden_state[0]
        torch.testing.assert_close(load_minilm(bert_files(folder))(numbers), expected, atol=1e-5, rtol=1e-5)


def test_other_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    files = bert_files(write_bert(tmp_path / "one"))
    save_file({"a": torch.zeros(2)}, files.folder / "model.safetensors")
    with pytest.raises(ArtifactError, match="holds no MiniLM: "):
        load_minilm(files)
    wide = bert_weights()
    wide["encoder.layer.1.output.dense.bias"] = torch.zeros(13)
    save_file(wide, files.folder / "model.safetensors")
    with pytest.raises(ArtifactError, match="holds no MiniLM: "):
        load_minilm(files)
    (files.folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="holds no MiniLM: "):
        load_minilm(files)
    assert CONFIG["num_hidden_layers"] == 2 and len(load_minilm(bert_files(folder)).layers) == 2


@pytest.mark.skipif(not IS_INSTALLED, reason=f"{MINILM} is not installed")
def test_the_real_weights() -> None:
    """They have the hash that is known. Colours differ in their states, directions hardly: hence two encoders."""
    frozen = open_frozen(TextEncoderConfig(frozen="minilm"))
    assert frozen is not None and (frozen.width, frozen.files.positions) == (384, 512)
    assert frozen.hash == frozen.record["hash"]

    def state(text: str) -> Tensor:
        return frozen.states([frozen.tokenizer.encode(text).ids], CPU)[-2]  # the last is the mark of the end

    def distance(one: str, other: str) -> float:
        return 1 - float(torch.cosine_similarity(state(one), state(other), dim=0))

    colours = distance("the ball is red", "the ball is blue")
    directions = distance("the ball rolls to the left", "the ball rolls to the right")
    assert 0.4 < colours < 0.9 and 0.02 < directions < 0.4 * colours


@pytest.mark.skipif(not IS_INSTALLED, reason=f"{MINILM} is not installed")
def test_the_real_weights_give_what_transformers_gives() -> None:
    transformers = pytest.importorskip("transformers")
    frozen = open_frozen(TextEncoderConfig(frozen="minilm"))
    assert isinstance(frozen, FrozenText)
    theirs = transformers.BertModel.from_pretrained(str(frozen.files.folder), local_files_only=True).eval()
    words = transformers.AutoTokenizer.from_pretrained(str(frozen.files.folder), local_files_only=True)
    for text in ("", "a red ball bounces on green grass", "Ein Ball rollt über den Schnee, 球, 🎈!"):
        numbers = frozen.tokenizer.encode(text).ids
        assert numbers == words(text).input_ids
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor([numbers])).last_hidden_state[0]
        torch.testing.assert_close(frozen.states([numbers], CPU), expected, atol=2e-5, rtol=2e-5)
