"""A BERT small enough for tests, with random weights, in a folder as the package of MiniLM has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from soracli.models import text_files, text_frozen
from soracli.models.text_files import FrozenFiles
from soracli.models.text_frozen import _hash_files

CONFIG = {
    "architectures": ["BertModel"],
    "hidden_act": "gelu",
    "hidden_size": 12,
    "intermediate_size": 20,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 24,
    "model_type": "bert",
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 30,
}
WORDS = ("a", "red", "blue", "ball", "cube", "rolls", "to", "the", "left", "right", "number", "##s", ",", "0", "1", "2")


def bert_weights(seed: int = 0) -> dict[str, Tensor]:
    """Under the names that BERT's files have, with a pooler and position numbers that nobody needs."""
    generator = torch.Generator().manual_seed(seed)
    dim, hidden = 12, 20
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (30, dim),
        "embeddings.position_embeddings.weight": (24, dim),
        "embeddings.token_type_embeddings.weight": (2, dim),
        "pooler.dense.weight": (dim, dim),
        "pooler.dense.bias": (dim,),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(2):
        layer = f"encoder.layer.{number}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{layer}.{name}.weight": (dim, dim), f"{layer}.{name}.bias": (dim,)}
        shapes |= {f"{layer}.intermediate.dense.weight": (hidden, dim), f"{layer}.intermediate.dense.bias": (hidden,)}
        shapes |= {f"{layer}.output.dense.weight": (dim, hidden), f"{layer}.output.dense.bias": (dim,)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for norm in norms:
        weights[f"{norm}.weight"] = 1 + 0.3 * torch.randn(dim, generator=generator)
        weights[f"{norm}.bias"] = 0.3 * torch.randn(dim, generator=generator)
    return {**weights, "embeddings.position_ids": torch.arange(24)[None]}


def bert_tokenizer() -> Tokenizer:
    """Words between two marks; like the package's own it asks for a fixed length."""
    vocabulary = {word: number for number, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(16)
    return tokenizer


def write_bert(folder: Path, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(bert_weights(seed), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    bert_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def bert_files(folder: Path) -> FrozenFiles:
    return FrozenFiles("minilm", "minilm", folder, CONFIG, 12, 24)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FrozenFiles:
    """Make a folder of ``write_bert`` what the package of MiniLM holds."""
    files = bert_files(folder)
    monkeypatch.setattr(text_files, "_package_folder", lambda: folder)
    monkeypatch.setattr(text_frozen, "_MINILM_HASH", _hash_files(files))
    return files
