"""``sora clips index`` as a process: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MAIN = (
    "import sys, typer; from soracli.cli import clips; from soracli.core.errors import SoraError\n"
    "app = typer.Typer(); clips.register(app)\n"
    "try: app(sys.argv[1:], standalone_mode=False)\n"
    "except SoraError as error: print(error, file=sys.stderr); sys.exit(error.exit_code)"
)


def sora(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the group by itself, so that this test needs nothing of the rest of the command line."""
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    grey = [Image.new("RGB", (20, 20), (level,) * 3) for level in range(0, 240, 10)]
    grey[0].save(tmp_path / "a.webp", save_all=True, append_images=grey[1:], duration=125)
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    (tmp_path / "b.txt").write_text("black")
    (tmp_path / "c.mp4").write_text("no video")
    return tmp_path


def test_the_path_goes_to_stdout_and_the_rest_to_stderr(folder: Path) -> None:
    done = sora("clips", "index", str(folder), "--excerpt", "1s", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder / 'clips.jsonl'}\n"
    assert "4 clips of 2 files: 3 moving (3s), 1 pictures, 0 for validation; 3 without caption" in done.stderr
    assert "sizes: 20x20 (3), 30x20 (1)" in done.stderr
    assert "left out: c.mp4: not a video that can be read" in done.stderr
    assert done.stderr.rstrip().endswith("1 files were left out")
    assert len((folder / "clips.jsonl").read_text().splitlines()) == 5


def test_json(folder: Path) -> None:
    done = sora("clips", "index", str(folder), "--json", "--fps", "4fps", "--out", str(folder / "x.jsonl"))
    answer = json.loads(done.stdout)
    assert answer["manifest"] == str(folder / "x.jsonl")
    assert (answer["clips"], answer["images"], answer["captions_missing"], answer["seconds"]) == (2, 1, 1, 3.0)
    assert [entry["file"] for entry in answer["left_out"]] == ["c.mp4"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--excerpt", "8x"], 2, "did you mean 8s?"),
        (["--fps", "fast"], 2, "no frame rate"),
        (["--min-excerpt", "2s"], 2, "--excerpt"),
        (["--out", "pyproject.toml"], 2, "--overwrite"),
    ],
)
def test_wrong_use(folder: Path, arguments: list[str], code: int, says: str) -> None:
    done = sora("clips", "index", str(folder), *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_nothing_there(tmp_path: Path) -> None:
    done = sora("clips", "index", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (3, "")
    assert "no such folder" in done.stderr


def test_lists_are_merged(folder: Path) -> None:
    sora("clips", "index", str(folder), "--excerpt", "1s", "--workers", "1")
    done = sora("clips", "merge", str(folder / "all" / "clips.jsonl"), str(folder / "clips.jsonl"), "--limit", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder / 'all' / 'clips.jsonl'}\n"
    assert "2 clips, 0 of them for validation; 0 duplicates left out" in done.stderr
    again = sora(
        "clips", "merge", str(folder / "all" / "clips.jsonl"), str(folder / "clips.jsonl"), "--json", "--overwrite"
    )
    assert json.loads(again.stdout)["clips"] == 4
