"""``sora dit train``: what goes to the pipeline, what comes out, defaults and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from soracli.cli.app import main
from soracli.pipelines import train_dit
from tests.pipelines.runs import DIT, make_cache

SETTINGS = [word for change in DIT for word in ("--set", change)]


@pytest.fixture
def inputs(workspace: Path) -> None:
    make_cache(workspace / "runs/nano")


def test_train_by_default(inputs: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dit", "train", *SETTINGS, "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "runs/nano/dit\n"
    assert main(["dit", "train", *SETTINGS, "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run": "runs/nano/dit", "model": "runs/nano/dit/model"}
    assert main(["model", "show", "runs/nano/dit"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:5]] == ["vae", "dit", "text"]


def test_train_hands_on_what_it_is_given(
    inputs: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []

    def pretend(loaded: Any, **given: Any) -> Path:
        calls.append({"depth": loaded.recipe.dit.depth, **given})
        return given["out"]

    monkeypatch.setattr(train_dit, "train_dit", pretend)
    Path("own.toml").write_text('kind = "dit.train"\n[dit]\ndepth = 3\n')
    arguments = ["own.toml", "--latents", "l", "--vae", "runs/nano", "--device", "cpu"]
    assert main(["dit", "train", *arguments]) == 0
    assert main(["dit", "train", "--set", "dit.depth=5", "-o", "here"]) == 0
    assert [[str(call[name]) for name in ("depth", "latents", "vae", "out", "device")] for call in calls] == [
        ["3", "l", "runs/nano", "runs/own", "cpu"],
        ["5", "runs/nano/latents", "runs/nano/vae", "here", "auto"],
    ]
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    assert main(["dit", "train"]) == 0
    assert capsys.readouterr() == ("", "")


def test_dry_run_says_what_would_happen(inputs: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dit", "train", *SETTINGS, "--device", "cpu", "--dry-run"]) == 0
    parameters, latents, tokens, steps, work, memory, out = capsys.readouterr().out.splitlines()
    assert parameters.startswith("parameters: DiT 0.0") and "text encoder" in parameters
    assert latents == "latents: runs/nano/latents, 3 entries"
    assert tokens.startswith("tokens: ") and steps == "steps: 6 of 4 samples, on cpu"
    assert memory.startswith("memory: 0.0") and "activations 0.0" in memory
    assert work.startswith("work: about ") and out == "out: runs/nano/dit (new)"
    assert main(["dit", "train", *SETTINGS, "--device", "cpu", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batch_size"] == 4
    assert not Path("runs/nano/dit").exists()


def test_refusals(inputs: None, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, said in (
        (["--set", "dit.dpeth=3"], 2, "--set dit.dpeth=3: unknown key 'dit.dpeth'; did you mean 'dit.depth'?"),
        (["nano/dti"], 2, "did you mean 'nano/dit'?"),
        (["dit.depth=3"], 2, "write: --set dit.depth=3"),
        (["--latents", "none"], 4, "none holds no finished cache: make it with sora latents cache --out none"),
        (["--vae", "runs/nano/latents"], 4, "holds no vae"),
    ):
        assert main(["dit", "train", *arguments, "--dry-run"]) == code
        out, error = capsys.readouterr()
        assert out == "" and said in error and error.count("\n") == 1


def test_a_missing_input_names_what_makes_it(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dit", "train"]) == 4
    assert "runs/nano/latents is not there: make it with sora latents cache" in capsys.readouterr().err
    (workspace / "runs/nano/latents").mkdir(parents=True)
    assert main(["dit", "train"]) == 4
    assert "runs/nano/vae is not there: make it with sora vae train" in capsys.readouterr().err
