"""``sora latents``: what goes to the pipelines, what comes out, defaults and refusals."""

import json
from pathlib import Path

import pytest
import torch

from soracli.cli.app import main
from soracli.models.store import save_vae
from tests.models.tiny import tiny_vae

SMALL = [
    *("--set", "world.videos=1", "--set", "world.images=2", "--device", "cpu"),
    *("--set", "world.shapes=[{seconds=0.5, height=32, width=32}]"),
    *("--set", "world_edits.videos=0", "--set", "world_edits.images=0"),
]


@pytest.fixture
def vae(workspace: Path) -> Path:
    save_vae(workspace / "runs/nano/vae/model/vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    return Path("runs/nano/vae")


def test_cache_and_show_by_default(vae: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latents", "cache", *SMALL, "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["vae: runs/nano/vae, 4 channels at 4x8x8", "world: 1 videos, 2 images; clips: 0"]
    assert out[3] == "out: runs/nano/latents (0 shards are there)" and not Path("runs/nano/latents").exists()
    assert main(["latents", "cache", *SMALL]) == 0
    assert capsys.readouterr().out == "runs/nano/latents\n"
    assert main(["latents", "cache", *SMALL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"latents": "runs/nano/latents"}
    assert main(["latents", "cache", *SMALL, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shards_made"] == 2
    assert main(["latents", "show"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("runs/nano/latents: 4 channels at 4x8x8, VAE ")
    assert out[2].split()[:2] == ["world", "1"] and out[3].startswith("entries: 3; files: ")
    assert len(out[4].split()) == 5 and sum(line.startswith("caption: ") for line in out) == 3
    assert main(["latents", "show", "runs/nano/latents", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"]["world"]["images"] == 2


def test_refusals(vae: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, said in (
        (["cache", "nano/latnets"], 2, "did you mean 'nano/latents'?"),
        (["cache", "nano/vae"], 2, "nano/vae"),
        (["cache", "--set", "world.vidoes=1"], 2, "did you mean 'world.videos'?"),
        (["cache", "--set", "world.shapes=[{height=30}]"], 2, "the nearest is"),
        (["cache", "--set", "world.height=30"], 2, "shapes says height of each shape: set it there"),
        (["cache", "--vae", "runs/nano/vea"], 4, "did you mean 'runs/nano/vae'?"),
        (["cache", "--clips", "none.jsonl"], 3, "none.jsonl: no such manifest"),
        (["show", "none"], 4, "none holds no finished cache: make it with sora latents cache --out none"),
    ):
        assert main(["latents", *arguments]) == code
        out, error = capsys.readouterr()
        assert out == "" and said in error.splitlines()[-1]


def test_a_missing_vae_names_what_makes_it(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latents", "cache"]) == 4
    error = "runs/nano/vae is not there: make it with sora vae train, or name another with --vae"
    assert capsys.readouterr().err == f"sora: error: {error}\n"
