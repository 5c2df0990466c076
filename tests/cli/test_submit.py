"""sora submit: where scripts go, what is printed, and what is sent."""

import json

import pytest

from soracli.cli.app import main

GIVEN = ["submit", "nano/dit", "--latents", "runs/l", "--gpus", "1"]


def test_a_script_is_written_and_its_path_printed(workspace, capsys):
    assert main([*GIVEN, "--time", "90m"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "runs/nano/dit.sbatch\n" and "sbatch runs/nano/dit.sbatch" in shown.err
    text = (workspace / shown.out.strip()).read_text()
    assert "set -- nano/dit runs/l runs/nano/dit\n" in text and "--time=0-01:30:00\n" in text
    assert main([*GIVEN, "--time", "90m"]) == 0  # the same again
    assert main([*GIVEN, "--time", "1h"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*GIVEN, "--time", "1h", "-y", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"script": "runs/nano/dit.sbatch", "job": None}


def test_a_dry_run_shows_it_and_writes_nothing(workspace, capsys):
    assert main([*GIVEN, "--set", "dit.depth=2", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("#!/bin/bash\n") and "--set dit.depth=2\n" in shown
    assert not list(workspace.iterdir())
    assert main([*GIVEN, "--set", "dit.dept=2", "--dry-run"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_it_is_sent(workspace, capsys, monkeypatch):
    (workspace / "sbatch").write_text('#!/bin/sh\necho "$@" > sent; echo "41;cluster"\n')
    (workspace / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(workspace), prepend=":")
    assert main([*GIVEN, "--now", "--script", "x.sbatch"]) == 0
    assert capsys.readouterr().out == "41\n"
    assert (workspace / "sent").read_text() == "--parsable x.sbatch\n"


@pytest.mark.parametrize("more", [["--out", "c.jsonl"], []])
def test_captions(workspace, capsys, more):
    code = main(["submit", "captions", "--clips", "a.jsonl", "--model", "m", "--array", "0-3", *more])
    assert code == (0 if more else 2)
    shown = capsys.readouterr()
    assert (shown.out == "c.jsonl.sbatch\n") is bool(more) and ("--out" in shown.err) is not bool(more)
