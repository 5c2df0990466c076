"""Names on the hub, against a hub that is a folder: which files are fetched, and what is said when they are not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

from soracli.core.errors import ArtifactError, MachineError
from soracli.models.hub import download_vae
from soracli.models.published_files import WEIGHTS
from soracli.pipelines.find_model import find_vae


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder OWNER/NAME/FILE; ``fetched.txt`` is what was asked of it and there."""

    def download(repository: str, file: str) -> str:
        path = tmp_path / repository / file
        if not (tmp_path / repository).is_dir():
            raise LocalEntryNotFoundError(f"Cannot reach the hub for {repository}.\nCheck the connection.")
        if not path.is_file():
            raise EntryNotFoundError(file)
        with (tmp_path / "fetched.txt").open("a") as log:
            log.write(f"{file}\n")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return tmp_path


def put(folder: Path, class_name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": class_name}))
    (folder / WEIGHTS).touch()


def test_a_vae_in_a_model_and_alone(hub: Path) -> None:
    put(hub / "team/model/vae", "AutoencoderKLWan")
    put(hub / "team/alone", "AutoencoderKLLTXVideo")
    assert download_vae("hf:team/model") == hub / "team/model/vae"
    assert find_vae("hf:team/alone") == hub / "team/alone"
    assert (hub / "fetched.txt").read_text().split() == ["vae/config.json", f"vae/{WEIGHTS}", "config.json", WEIGHTS]


def test_what_is_no_video_vae_is_not_fetched(hub: Path) -> None:
    put(hub / "team/image/vae", "AutoencoderKL")
    put(hub / "team/dit", "WanTransformer3DModel")
    for name in ("hf:team/image", "hf:team/dit"):
        with pytest.raises(ArtifactError, match=f"{name} holds none of the VAEs that are read: AutoencoderKLWan, "):
            download_vae(name)
    assert WEIGHTS not in (hub / "fetched.txt").read_text()


def test_names_and_networks_that_cannot_be(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hf:", "hf:model", "hf:/model", "hf:a/b/c"):
        with pytest.raises(ArtifactError, match=r"is no name on the hub: write hf:OWNER/NAME"):
            find_vae(name)
    with pytest.raises(MachineError, match=r"cannot fetch hf:no/where: Cannot reach the hub for no/where\.$"):
        find_vae("hf:no/where")

    def missing(repository: str, file: str) -> str:
        response: Any = SimpleNamespace(headers={}, request=None)
        raise RepositoryNotFoundError("401 Client Error.\nsecond line", response=response)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", missing)
    with pytest.raises(
        ArtifactError, match=r"no model 'hf:no/one' that may be read without leave: 401 Client Error\.$"
    ):
        find_vae("hf:no/one")
