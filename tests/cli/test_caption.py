"""``sora caption``: what its commands hand to their pipelines, and what they say."""

import json

from soracli.cli.app import main


def test_a_dry_run_counts_and_makes_nothing(workspace, capsys):
    assert main(["caption", "train", "--dry-run", "--json", "--device", "cpu"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["out"] == "runs/nano/captioner" and plan["steps"] == 6000 and plan["model_bytes"] < 5.9e6
    assert main(["caption", "train", "--dry-run", "--device", "cpu", "--set", "loop.steps=7"]) == 0
    said = capsys.readouterr().out
    assert "steps: 7 of 48 or 16 or 48 or 16 samples, on cpu" in said and "captioned clips: 0" in said
    assert not list(workspace.iterdir())


def test_clips_that_no_sample_would_show_are_a_wrong_use(workspace, capsys):
    assert main(["caption", "train", "--dry-run", "--clips", "none.jsonl"]) == 2
    assert "data.world_share = 1 leaves all samples to the world" in capsys.readouterr().err
