"""Names of models: folders, the shipped weights when they are there, and what is said of anything else."""

from pathlib import Path

import pytest

import soracli
from soracli.core.errors import ArtifactError
from soracli.pipelines.find_model import find_model


def test_folders_and_shipped_weights(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "mine").mkdir()
    assert find_model("mine") == Path("mine")
    monkeypatch.setattr(soracli, "__file__", str(workspace / "site/soracli/__init__.py"))
    with pytest.raises(ArtifactError, match=r"has no nano weights in .*; train some: sora vae train"):
        find_model("nano")
    shipped = workspace / "site/soracli/weights/nano"
    (shipped / "vae").mkdir(parents=True)
    (shipped / "vae/config.json").touch()
    assert find_model("nano") == shipped
    (workspace / "nano").mkdir()
    assert find_model("./nano") == Path("nano")


def test_what_is_no_model(workspace: Path) -> None:
    (workspace / "video.mp4").touch()
    (workspace / "first").mkdir()
    for name, said in (
        ("video.mp4", "video.mp4 is a file, not a model"),
        ("nanoo", "no model 'nanoo'; did you mean 'nano'?"),
        ("frist", "no model 'frist'; did you mean 'first'?"),
        ("deep/er", "name nano, a model folder or a finished run"),
    ):
        with pytest.raises(ArtifactError) as caught:
            find_model(name)
        assert said in str(caught.value)
