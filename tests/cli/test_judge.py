"""``sora judge``: what reaches the pipeline, checked by putting another in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from soracli.cli.app import main


def test_train_hands_on_what_was_said(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []

    def stand_in(loaded: Any, *, out: Path, device: str, fork_of: Path | None, reporter: object) -> Path:
        calls.append({"steps": loaded.recipe.loop.steps, "out": out, "device": device, "fork_of": fork_of})
        return out

    monkeypatch.setattr("soracli.pipelines.train_judge.train_judge", stand_in)
    assert main(["judge", "train", "--set", "loop.steps=7", "--device", "cpu", "--json"]) == 0
    assert calls == [{"steps": 7, "out": Path("runs/nano/judge"), "device": "cpu", "fork_of": None}]
    assert json.loads(capsys.readouterr().out) == {"run": "runs/nano/judge", "model": "runs/nano/judge/model"}


def test_a_recipe_of_another_kind_is_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "train", "nano/vae"]) == 2
    assert "sora vae train" in capsys.readouterr().err
