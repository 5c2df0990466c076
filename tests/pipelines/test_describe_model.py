"""What is said of model folders, against the modules they were written from."""

import json
from pathlib import Path

import pytest

import soracli
from soracli.core.errors import ArtifactError
from soracli.pipelines.describe_model import describe_model, list_models
from tests.models.tiny import tiny_dit, tiny_text, tiny_vae
from tests.pipelines.generators import DEFAULTS, write_model


def test_parts_and_facts(tmp_path: Path) -> None:
    model = write_model(tmp_path / "run/model")
    found = describe_model(tmp_path / "run")
    assert found == describe_model(model) and found.folder == model
    modules = {"vae": tiny_vae(), "dit": tiny_dit(), "text": tiny_text()}
    assert {part.kind: part.parameters for part in found.parts} == {
        kind: sum(weight.numel() for weight in module.parameters()) for kind, module in modules.items()
    }
    for part in found.parts:
        record = json.loads((model / part.kind / "config.json").read_text())
        assert (part.hash, part.config, part.stored) == (record["hash"], record["config"], "F32")
        assert part.num_bytes == (model / part.kind / "model.safetensors").stat().st_size
    assert found.facts["latents"] == {"channels": 4, "compression": [4, 8, 8]}
    assert found.facts["trained"] == {"steps": 2, "seed": 0} and found.facts["defaults"] == DEFAULTS
    assert [part.kind for part in describe_model(model / "text").parts] == ["text"]


def test_what_cannot_be_described(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    (model / "dit/model.safetensors").write_bytes(b"short")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").touch()
    (tmp_path / "none/vae").mkdir(parents=True)
    (tmp_path / "none/config.json").write_text("{}")
    for folder, said in (
        (model, "dit is damaged"),
        (tmp_path / "run", "is a run that is not finished"),
        (tmp_path / "none", "holds a damaged part"),
        (tmp_path / "none/vae", "holds no model"),
    ):
        with pytest.raises(ArtifactError) as error:
            describe_model(folder)
        assert said in str(error.value)


def test_the_list_has_shipped_and_finished_ones(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soracli, "__file__", str(workspace / "site/soracli/__init__.py"))
    assert list_models(Path("runs")) == {}
    write_model(workspace / "site/soracli/weights/nano")
    write_model(workspace / "runs/mine/dit/model")
    write_model(workspace / "runs/other/model")
    (workspace / "runs/begun/model").mkdir(parents=True)
    assert list(list_models(Path("runs"))) == ["nano", "runs/other", "runs/mine/dit"]
