"""``sora model``: tables and JSON of what is in models, and refusals."""

import json
from pathlib import Path

import pytest

import soracli
from soracli.cli.app import main
from tests.pipelines.generators import write_model


def test_show(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(workspace / "mine/model")
    assert main(["model", "show", "mine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine/model" and lines[1].split()[:2] == ["part", "parameters"]
    assert [line.split()[0] for line in lines[2:5]] == ["vae", "dit", "text"]
    assert lines[5:] == [
        "latents: channels 4, compression 4x8x8",
        "trained: steps 2, seed 0",
        "defaults: fps 8, size 32x32, shift 1.5, first_block 3, block 2, window 5, num_steps 2",
    ]
    assert main(["model", "show", "mine", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == "mine/model" and [part["kind"] for part in found["parts"]] == ["vae", "dit", "text"]


def test_list(workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(soracli, "__file__", str(workspace / "site/soracli/__init__.py"))
    write_model(workspace / "site/soracli/weights/nano")
    write_model(workspace / "runs/mine/model")
    assert main(["model", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "nano", "runs/mine"]
    assert main(["model", "list", "none", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["name"] == "nano" and len(found["parts"]) == 3


def test_refusals(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    for name, said in (("emtpy", "did you mean 'empty'?"), ("empty", "empty holds no model")):
        assert main(["model", "show", name]) == 4
        out, error = capsys.readouterr()
        assert out == "" and said in error and error.count("\n") == 1
