"""``sora vae export``, and where the command line takes a VAE by its name on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from soracli.cli.app import main
from soracli.models.store import save_vae
from soracli.pipelines import clip_sources, find_model, sample_clips
from tests.models.tiny import tiny_vae
from tests.pipelines.runs import DIT, make_cache


def test_export(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_vae(workspace / "mine/vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    assert main(["vae", "export", "mine", "out"]) == 0
    assert capsys.readouterr().out == "out\n" and Path("out/video_vae.py").is_file()
    assert main(["vae", "export", "mine", "out"]) == 2
    assert capsys.readouterr().err == (
        "sora: error: out exists and is not empty; name another folder, or --overwrite\n"
    )
    assert main(["vae", "export", "mine", "out", "-y", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"vae": "out"}


def test_where_a_vae_may_be_a_name_on_the_hub(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vae, latents = make_cache(workspace)
    asked: list[str] = []
    monkeypatch.setattr(find_model, "download_vae", lambda name: (asked.append(name), vae)[1])
    for constant, value in (("SIDE", 16), ("NUM_FRAMES", 5)):
        monkeypatch.setattr(sample_clips, constant, value)
    monkeypatch.setattr(clip_sources, "TRAINING_CLIPS", 2)
    small = [word for change in DIT for word in ("--set", change)]
    for arguments in (
        ["latents", "cache", "--vae", "hf:team/a", "--dry-run"],
        ["dit", "train", "--vae", "hf:team/b", "--latents", str(latents), *small, "--dry-run"],
        ["vae", "eval", "hf:team/c", "--world", "1", "--device", "cpu"],
    ):
        assert main(arguments) == 0, capsys.readouterr().err
    assert asked == ["hf:team/a", "hf:team/b", "hf:team/c"]
    assert main(["generate", "a ball", "--model", "hf:team/d"]) == 4 and asked[3:] == []
