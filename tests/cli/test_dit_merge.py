"""``sora dit merge`` and ``--adapter``: what is made of a model and what was learnt on it, and refusals."""

import json
from pathlib import Path

import pytest

from soracli.cli.app import main
from tests.pipelines.runs import DIT, make_cache

SETTINGS = [word for change in (*DIT, "loop.steps=1", "sampling.num_steps=1") for word in ("--set", change)]


def test_from_an_adapter_to_videos(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_cache(workspace / "runs/nano")
    train = ["dit", "train", *SETTINGS, "--device", "cpu"]
    assert main([*train, "--out", "base"]) == 0
    # Something that one step moves far enough for bfloat16 to show it.
    adapt = ["--set", "lora.rank=2", "--set", "lora.whole=['dit.final.bias']", "--set", "optimiser.learning_rate=0.5"]
    assert main([*train, "--out", "mine", "--init", "base", *adapt]) == 0
    capsys.readouterr()
    assert main(["dit", "merge", "base", "mine", "--out", "merged"]) == 0
    assert capsys.readouterr().out == "merged\n"
    assert main(["dit", "merge", "base", "mine", "--out", "merged"]) == 2
    assert capsys.readouterr().err == (
        "sora: error: merged exists and is not empty; name another folder, or --overwrite\n"
    )
    assert main(["dit", "merge", "base", "mine", "-o", "merged", "--store", "bfloat16", "-y", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"model": "merged"}
    assert main(["model", "show", "mine"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[2].startswith("lora ") and shown[3].startswith("latents: ") and shown[4].startswith("base: dit ")

    generate = ["generate", "a ball", "--seconds", "0.5s", "--seed", "1", "--device", "cpu", "--json"]
    assert main([*generate, "--model", "base", "--adapter", "mine", "--out", "a.png"]) == 2  # a picture has no length
    capsys.readouterr()
    assert main([*generate, "--model", "base", "--adapter", "mine", "--out", "a.mp4"]) == 0
    (adapted,) = json.loads(capsys.readouterr().out)
    assert main([*generate, "--model", "base", "--out", "b.mp4"]) == 0
    (plain,) = json.loads(capsys.readouterr().out)
    assert len(adapted["adapter"]) == 64 and adapted["model"] == plain["model"] and "adapter" not in plain
    assert main([*generate, "--model", "merged", "--adapter", "mine", "--out", "c.mp4"]) == 4
    assert "name the model that it was trained on" in capsys.readouterr().err
    assert main([*generate, "--lora", "mine"]) == 2
    assert "--adapter" in capsys.readouterr().err
