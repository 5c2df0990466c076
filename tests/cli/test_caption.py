"""``sora caption``: what its commands hand to their pipelines, and what they say."""

import json
from pathlib import Path

import torch

import soracli
from soracli.cli.app import main
from soracli.data.manifest import read_manifest
from soracli.models.captioner_store import save_captioner
from soracli.models.tokenizer import train_tokenizer
from tests.chat_server import chat_server, completion
from tests.data.clips import make_clip, make_manifest
from tests.models.test_captioner import CAPTIONS, stirred


def test_a_dry_run_counts_and_makes_nothing(workspace, capsys):
    assert main(["caption", "train", "--dry-run", "--json", "--device", "cpu"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["out"] == "runs/nano/captioner" and plan["steps"] == 8000 and plan["model_bytes"] < 5.9e6
    assert main(["caption", "train", "--dry-run", "--device", "cpu", "--set", "loop.steps=7"]) == 0
    said = capsys.readouterr().out
    assert "steps: 7 of 48 or 16 or 48 or 16 samples, on cpu" in said and "captioned clips: 0" in said
    assert not list(workspace.iterdir())


def test_clips_that_no_sample_would_show_are_a_wrong_use(workspace, capsys):
    assert main(["caption", "train", "--dry-run", "--clips", "none.jsonl"]) == 2
    assert "data.world_share = 1 leaves all samples to the world" in capsys.readouterr().err


def test_options_of_an_endpoint_want_one(workspace, capsys):
    assert main(["caption", "write", "clips.jsonl", "--frames", "4"]) == 2
    assert "--frames is for --endpoint URL --model NAME" in capsys.readouterr().err
    assert main(["caption", "write", "clips.jsonl", "--endpoint", "http://localhost:1/v1"]) == 2
    assert "--endpoint needs --model NAME" in capsys.readouterr().err


def test_without_a_captioner_the_command_that_makes_one_is_named(workspace, capsys):
    if not any((Path(soracli.__file__).parent / "weights/nano").glob("captioner/config.json")):
        assert main(["caption", "write", "clips.jsonl"]) == 4
        assert "make it with sora caption train" in capsys.readouterr().err


def test_clips_are_captioned_by_an_endpoint(workspace, capsys):
    clips = make_manifest(workspace, make_clip(workspace, "moving.webp", 3), make_clip(workspace, "gone.webp", 2))
    (workspace / "gone.webp").unlink()
    with chat_server(lambda number, asked: completion("a grey wall")) as server:
        words = ["caption", "write", str(clips), "--endpoint", server.url, "--model", "see-er", "--frames", "2"]
        assert main([*words, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "left to this process: 2" in said and "model see-er" in said and not server.received
        assert main([*words, "--json"]) == 0
        out, notes = capsys.readouterr()
        assert len(server.received[0].body["messages"][1]["content"]) == 3
    found = json.loads(out)
    assert found["captioned"] == 1 and found["confidence"] is None
    assert "keeps its caption: gone.webp" in notes and "1 clips captioned, 1 keep the caption they had" in notes
    captions = [clip.caption for clip in read_manifest(workspace / "clips.captioned.jsonl").clips]
    assert captions == ["a grey wall", "blocks 0"]


def test_an_evaluation_in_tables_and_in_json(workspace, capsys):
    save_captioner(workspace / "model", stirred(), train_tokenizer(CAPTIONS, 300), {}, torch.float32)
    clips = make_manifest(workspace, *(make_clip(workspace, f"{number}.webp", 3, seed=number) for number in range(2)))
    words = ["caption", "eval", "model", "--clips", str(clips), "--world", "2", "--seconds", "1s", "--device", "cpu"]
    assert main(words) == 0
    said = capsys.readouterr().out
    for part in ("world: 2 scenes", "held out: ", "precision %", "visible", "repetitive %", "protocol: likeliest"):
        assert part in said
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["worlds"][0]["scenes"] == 2 and found["sets"][0]["clips"] == 2
