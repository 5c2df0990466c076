"""``sora vae``: what goes to the pipelines, what comes out, defaults and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from soracli.cli.app import main
from soracli.models.config import VAEConfig
from soracli.models.store import save_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines import clip_sources, evaluate_vae, sample_clips, train_vae, vae_scores
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.recipe.find import find_recipe
from soracli.recipe.load import load_recipe


@pytest.fixture
def model(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sample_clips, "SIDE", 32)
    monkeypatch.setattr(sample_clips, "NUM_FRAMES", 3)
    monkeypatch.setattr(clip_sources, "TRAINING_CLIPS", 2)
    monkeypatch.setattr(vae_scores, "find_feature_weights", lambda: None)
    config = VAEConfig(
        latent_channels=3, widths=(4, 4), temporal_strides=(2,), encoder_blocks=(1, 1), decoder_blocks=(1, 1)
    )
    save_vae(workspace / "mine/vae", VideoVAE(config), torch.zeros(3), torch.ones(3), {})
    return "mine"


def test_eval_prints_a_table_and_its_protocol(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vae", "eval", model, "--world", "2", "--device", "cpu", "--out", "side.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine: 3 channels at 2x8x8, 1 number for 128 of the video"
    assert lines[1].split("  ")[0] == "clips" and "PSNR objects" in lines[1]
    assert [line.split()[:2] for line in lines[2:5]] == [["world", "VAE"], ["world", "linear"], ["world", "floor"]]
    assert lines[5].startswith("perceptual, Fréchet: absent, their network is not installed")
    assert lines[6].startswith("world: 2 scenes of the world 1000000 with held-out combinations, first 3 frames")
    assert lines[7].startswith("protocol: ") and "means over clips" in lines[7]
    assert lines[8:10] == ["", "latents"] and lines[10].split()[-2:] == ["slope", "change"]
    assert [line.split()[:2] for line in lines[11:14]] == [["world", "VAE"], ["world", "linear"], ["world", "noise"]]
    assert lines[14].startswith("protocol: over all latents") and len(lines) == 15
    assert Path("side.png").stat().st_size > 0
    assert main(["vae", "eval", model, "--world", "1", "--out", "side.png"]) == 2
    assert capsys.readouterr().err == "sora: error: side.png exists; give another name, or --overwrite\n"


def test_eval_answers_with_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vae", "eval", model, "--world", "2", "--seed", "3", "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["seed"] == 3 and report["compression"] == [2, 8, 8]
    (found,) = report["sets"]
    figures = {"psnr", "ssim", "psnr_objects", "ssim_objects", "vmaf", "perceptual", "frechet", "flicker"}
    assert set(found["vae"]) == figures == set(found["linear_code"])
    assert set(found["floor"]) == {"frechet", "flicker"} and list(report["missing"]) == ["perceptual, Fréchet"]
    assert len(found["latents"]["channels"]) == 3 and found["latents"]["noise"] > 0
    assert found["linear_latents"]["noise"] is None


def test_eval_shows_every_channel_when_asked(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vae", "eval", model, "--world", "1", "--device", "cpu", "--size", "40x32", "--channels"]) == 0
    out = capsys.readouterr().out
    head, _, table = out.partition("\nchannels of the VAE's latents, world\n")
    assert "40x32" in head and [line.split()[0] for line in table.splitlines()] == ["channel", "0", "1", "2"]


def test_eval_hands_on_several_manifests(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []

    class Asked(Exception):
        pass

    def pretend(model: Path, **given: Any) -> None:
        calls.append(given)
        raise Asked

    monkeypatch.setattr(evaluate_vae, "evaluate_vae", pretend)
    arguments = ["--clips", "a.jsonl", "--clips", "b/clips.jsonl", "--fit", "c.jsonl", "--world", "0", "--size", "480p"]
    assert main(["vae", "eval", *arguments]) == 1
    assert calls[0]["clips"] == [Path("a.jsonl"), Path("b/clips.jsonl")] and calls[0]["fit"] == Path("c.jsonl")
    assert calls[0]["world"] == 0 and calls[0]["size"] == (480, 854)
    assert main(["vae", "eval"]) == 1
    assert calls[1]["clips"] == () and calls[1]["size"] is calls[1]["fit"] is None and calls[1]["world"] == 32


def test_eval_refuses_in_one_line(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, said in (
        (["mien"], 4, "no model 'mien'; did you mean 'mine'?"),
        ([model, "--world", "0"], 2, "nothing to evaluate on"),
        ([model, "--fit", "a.jsonl"], 2, "give --clips MANIFEST too"),
        ([model, "--size", "big"], 2, "--size 'big' is no size"),
        ([model, "--clips", "none.jsonl"], 3, "none.jsonl: no such manifest"),
    ):
        assert main(["vae", "eval", *arguments]) == code
        out, error = capsys.readouterr()
        assert out == "" and said in error and error.count("\n") == 1


def test_train_hands_on_what_it_is_given(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []

    def pretend(loaded: Any, **given: Any) -> Path:
        calls.append({"steps": loaded.recipe.loop.steps, **given})
        return given["out"]

    monkeypatch.setattr(train_vae, "train_vae", pretend)
    assert main(["vae", "train", "--set", "loop.steps=7", "--clips", "c.jsonl", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "runs/nano/vae\n"
    Path("own.toml").write_text('kind = "vae.train"\n[loop]\nsteps = 3\n')
    assert main(["vae", "train", "own.toml"]) == 0
    assert main(["vae", "train", "nano/vae.toml", "-o", "here"]) == 0
    assert [(call["steps"], call["clips"], str(call["out"]), call["device"]) for call in calls[:2]] == [
        (7, Path("c.jsonl"), "runs/nano/vae", "cpu"),
        (3, None, "runs/own", "auto"),
    ]
    assert str(calls[2]["out"]) == "here"


def test_only_the_first_rank_speaks(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_vae, "train_vae", lambda loaded, **given: given["out"])
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    assert main(["vae", "train"]) == 0
    assert capsys.readouterr() == ("", "")


def test_dry_run_says_what_would_happen(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["vae", "train", "--set", "frames.world_share=1", "--device", "cpu", "--dry-run"]
    assert main(arguments) == 0
    parameters, latents, steps, clips, out = capsys.readouterr().out.splitlines()
    assert parameters.startswith("parameters: ") and "decoder" in parameters
    assert latents == "latents: 16 channels at 4x16x16, 1 number for 192 of the video"
    assert steps.startswith("steps: ") and steps.endswith("on cpu")
    assert clips == "clips: none, the built-in world alone"
    assert out == "out: runs/nano/vae (new)"
    assert main([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    recipe = load_recipe(VaeTrainRecipe, find_recipe("nano/vae")).recipe
    counts = [sum(map(torch.numel, part.parameters())) for part in VideoVAE(recipe.vae).children()]
    assert [plan["encoder_parameters"], plan["decoder_parameters"]] == counts
    assert plan["steps"] == recipe.loop.steps and plan["resumes"] is False
    assert not Path("runs").exists()


def test_dry_run_checks(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, said in (
        (["nano/vea"], 2, "did you mean 'nano/vae'?"),
        (["--set", "frames.shapes=[{num_frames = 16}]"], 2, "use 13 or 17"),
        (["--set", "frames.world_share=0"], 3, "give --clips"),
        (["--clips", "none.jsonl"], 3, "none.jsonl: no such manifest"),
    ):
        assert main(["vae", "train", *arguments, "--dry-run"]) == code
        assert said in capsys.readouterr().err
