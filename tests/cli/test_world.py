"""``sora world render``: streams, exit codes and what it hands to the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soracli.cli.app import main

QUICK = ["--seconds", "0.2s", "--size", "24x16", "--count", "2", "--objects", "1"]


def test_the_folder_is_the_result(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["world", "render", "--out", "w", *QUICK, "--contact-sheet"]) == 0
    out, error = capsys.readouterr()
    assert out == "w\n"
    assert "rendering: 4/4 frames" in error
    assert "2 clips of 2 frames, 24x16, rendered; 0 were there" in error
    assert "w-contact-sheet.png" in error
    assert sorted(path.name for path in Path("w").glob("*.mp4")) == ["0000.mp4", "0001.mp4"]
    assert main(["world", "render", "--out", "w", *QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": "w",
        "metadata": "w/metadata.jsonl",
        "rendered": [],
        "kept": [0, 1],
        "frames": 2,
        "contact_sheet": None,
    }


def test_a_dry_run_makes_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["world", "render", "--out", "w", *QUICK, "--dry-run"]) == 0
    assert capsys.readouterr() == ("", "would render 2 clips of 2 frames, 24x16, to w; 0 are there\n")
    assert (
        main(["world", "render", "--out", "w", "--images", "--count", "3", "--start", "5", "--dry-run", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == {"folder": "w", "would_render": [5, 6, 7], "frames": 1}
    assert not Path("w").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "missing option '--out'"),
        (["--out", "w", "--count", "0"], "--count"),
        (["--out", "w", "--objects", "4"], "--objects"),
        (["--out", "w", "--split", "test"], "'train', 'held_out', 'any'"),
        (["--out", "w", "--images", "--fps", "12"], "leave out --seconds and --fps, or --images"),
        (["--out", "w", "--size", "big"], "--size 'big' is no size"),
        (["--out", "w", "--duration", "4"], "did you mean --seconds?"),
        (["--out", "w", "--device", "gpu"], "unknown device 'gpu'"),
    ],
)
def test_wrong_use(workspace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["world", "render", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert said in error
    assert not Path("w").exists()
