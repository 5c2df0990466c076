"""T5, CLIP and BERT of transformers, tiny and random: states against the library's own, padded as it pads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError
from soracli.models.config import TextEncoderConfig
from soracli.models.text_files import FrozenFiles, find_frozen
from soracli.models.text_frozen import FrozenText, _hash_files
from soracli.models.text_transformers import load_transformers
from tests.models.tiny_bert import bert_tokenizer, write_bert

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")
T5 = {"vocab_size": 30, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 2}
CLIP = {
    "vocab_size": 30, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 12, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


def build(kind: str) -> Any:
    """A random model; t5 and clip whole, as they are published, with what is not wanted here."""
    torch.manual_seed(0)
    if kind == "t5 encoder":
        return transformers.T5EncoderModel(transformers.T5Config(**T5))
    if kind == "t5":
        return transformers.T5ForConditionalGeneration(transformers.T5Config(**T5, decoder_start_token_id=0))
    if kind == "clip text":
        return transformers.CLIPTextModel(transformers.CLIPTextConfig(**CLIP))
    vision = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 8, "patch_size": 4}  # fmt: skip
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=CLIP, vision_config=vision, projection_dim=4))


def saved(folder: Path, kind: str, **options: Any) -> FrozenFiles:
    build(kind).save_pretrained(folder, **options)
    bert_tokenizer().save(str(folder / "tokenizer.json"))
    return found(folder)


def found(folder: Path) -> FrozenFiles:
    files = find_frozen(TextEncoderConfig(frozen="transformers", frozen_model=str(folder)))
    assert files is not None
    return files


def reference(kind: str, texts: list[list[int]]) -> list[Tensor]:
    """What the library gives for texts that are filled up to one length, without the filling."""
    model = build(kind).eval()
    if kind == "t5":
        model = model.encoder
    elif kind == "clip":
        model = model.text_model
    longest = max(map(len, texts))
    numbers = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    seen = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    with torch.no_grad():
        states = model(input_ids=numbers, attention_mask=seen).last_hidden_state
    return [row[: len(text)] for row, text in zip(states, texts, strict=True)]


@pytest.mark.parametrize("kind", ["t5 encoder", "t5", "clip text", "clip"])
def test_states_are_those_of_padded_texts_in_the_library(tmp_path: Path, kind: str) -> None:
    texts = [[2, 5, 7, 3], [2, 3], [2, 4, 6, 7, 9, 10, 3]]
    frozen = FrozenText(saved(tmp_path, kind))
    together = frozen.states(texts, CPU)
    assert frozen.width == 8 and frozen.files.positions == (None if "t5" in kind else 12)
    torch.testing.assert_close(together, torch.cat(reference(kind, texts)), atol=1e-5, rtol=1e-5)
    alone = [FrozenText(found(tmp_path)).states([text], CPU) for text in texts]
    assert torch.equal(together, torch.cat(alone)) and not together.requires_grad


def test_bert_is_ours(tmp_path: Path) -> None:
    """The same files by the other way."""
    write_bert(tmp_path)
    one = FrozenText(found(tmp_path)).states([[2, 5, 3]], CPU)
    other = FrozenText(FrozenFiles("minilm", "minilm", tmp_path, found(tmp_path).config, 12, 24)).states(
        [[2, 5, 3]], CPU
    )
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_weights_in_pieces_and_in_half_precision(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole", "t5 encoder")
    cut = saved(tmp_path / "cut", "t5 encoder", max_shard_size="1KB")
    assert len(cut.weights) > 1 and _hash_files(cut) == _hash_files(whole)
    text = [[2, 5, 7, 3]]
    expected = FrozenText(whole).states(text, CPU)
    assert torch.equal(FrozenText(cut).states(text, CPU), expected)
    weights = load_file(whole.weights[0])
    for dtype in (torch.float16, torch.bfloat16):
        save_file({name: value.to(dtype) for name, value in weights.items()}, whole.weights[0], {"format": "pt"})
        record = {**whole.config, "dtype": str(dtype).removeprefix("torch.")}
        (whole.folder / "config.json").write_text(json.dumps(record))
        half = FrozenText(found(whole.folder))
        states = half.states(text, CPU)
        assert half.encoder.module.dtype == (torch.float32 if dtype == torch.float16 else dtype)
        assert states.dtype == torch.float32
        torch.testing.assert_close(states, expected, atol=0.1, rtol=0.1)


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    files = saved(tmp_path, "t5 encoder")
    weights = load_file(files.weights[0])
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(weights, files.weights[0], {"format": "pt"})
    with pytest.raises(ArtifactError, match=r"lacks 1 weights of its text encoder, among them encoder\.block\.1\."):
        load_transformers(files)


def test_pickles_and_code_are_left_alone(tmp_path: Path) -> None:
    files = saved(tmp_path, "t5 encoder")
    (tmp_path / "model.safetensors").rename(tmp_path / "kept")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="holds no text encoder that is read: "):
        load_transformers(files)
    (tmp_path / "kept").rename(tmp_path / "model.safetensors")
    (tmp_path / "evil.py").write_text(
        f"open({str(tmp_path / 'was_run')!r}, 'w')\nclass Model: ...\nclass Config: ...\n"
    )
    strange = {
        **files.config,
        "model_type": "strange",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(strange))
    with pytest.raises(ArtifactError, match="holds no text encoder that is read: "):
        load_transformers(found(tmp_path))
    assert not (tmp_path / "was_run").exists()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "hidden_size": 8}))
    with pytest.raises(ArtifactError, match="holds no text encoder that is read: "):
        load_transformers(found(tmp_path))


def test_without_the_library_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = saved(tmp_path, "t5 encoder")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MachineError, match=r"needs a package: pip install 'sora-trainer\[transformers\]'$"):
        load_transformers(files)
