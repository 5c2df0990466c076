"""Hostile arguments, missing programs and bare surroundings: one line and its code, or the same result as ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest

from soracli.cli.app import main
from soracli.data import video_write
from soracli.data.video_probe import probe_video
from soracli.data.video_record import read_record
from soracli.pipelines import generate as pipeline
from tests.pipelines.generators import write_model


@pytest.fixture
def model(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(pipeline, "set_threads", lambda count: count)
    write_model(workspace / "mine/model")
    return "mine"


def run(*arguments: str) -> int:
    return main(["generate", "--device", "cpu", "--seed", "1", *arguments])


@pytest.mark.row(67)
@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9", "1000000000", "0x10", "", "8s8s", "1" * 500])
def test_lengths_that_cannot_be(workspace: Path, capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    assert run("a ball", f"--seconds={seconds}") == 2
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1 and "--seconds" in error
    assert not list(workspace.iterdir())


@pytest.mark.row(67)
def test_a_prompt_is_only_ever_text(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is made into a video or refused in a line; ffmpeg is told of it in the comment alone."""
    commands: list[list[str]] = []
    plain = subprocess.Popen

    def listening(command: list[str], **options: Any) -> Any:
        commands.append(command)
        return plain(command, **options)

    monkeypatch.setattr(video_write.subprocess, "Popen", listening)
    for number, prompt in enumerate(
        ("-i /etc/passwd", "a\0b", "x" * 100_000, "%d ;$(touch made) `touch made` 'a\" \n", "‮😀", "../../up")
    ):
        name = f"{number}.mp4"
        assert run("--model", model, "--seconds", "0.2", "-o", name, "--", prompt) == 0, capsys.readouterr().err
        assert probe_video(Path(name)).num_frames > 0
        assert read_record(Path(name))["prompt"] == prompt.strip()[:4000]
        (command,) = (words for words in commands if words[-1].endswith(f"{number}.part.mp4"))
        told = [word for word in command if not word.startswith("comment=")]
        assert all(part not in word for word in told for part in ("passwd", "touch", "xx", "😀", "up"))
    for prompt in ("", "   \n", "\ud800"):
        assert run("--model", model, "-o", "y.mp4", "--", prompt) == 2
    assert sorted(path.name for path in Path().iterdir()) == [*(f"{number}.mp4" for number in range(6)), "mine"]


@pytest.mark.row(67)
def test_a_prompt_that_looks_like_an_option_is_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-i /etc/passwd") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.row(69)
@pytest.mark.parametrize("fault", ["missing", "gone", "no encoder"])
def test_without_ffmpeg_nothing_is_sampled(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("sampling began")

    stub = Path("ffmpeg").absolute()
    if fault == "no encoder":
        stub.write_text("#!/bin/sh\necho \"Codec 'libx264' is not recognized by FFmpeg.\"\n")
        stub.chmod(0o755)
    program = missing if fault == "missing" else lambda: str(stub)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", program)
    monkeypatch.setattr(pipeline, "roll_out", never)
    assert run("a ball", "--model", model, "-o", "a.mp4") == 5
    out, error = capsys.readouterr()
    assert out == "" and "pip install --force-reinstall imageio-ffmpeg" in error.splitlines()[-1]
    assert not list(Path().glob("a.*"))


COMMAND = [sys.executable, "-m", "soracli.cli.app"]


@pytest.mark.row(70)
def test_bare_surroundings_change_nothing(repository: Path, tmp_path: Path) -> None:
    """No HOME, no terminal, the C locale without UTF-8, a current folder that is gone, and nobody who reads."""
    usual = {**os.environ, "PYTHONPATH": str(repository)}
    bare = {
        **{"PATH": os.environ["PATH"], "PYTHONPATH": str(repository)},
        **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    }
    arguments = ["recipe", "show", "nano/vae"]
    expected = subprocess.run([*COMMAND, *arguments], capture_output=True, env=usual, check=True)
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    found = subprocess.run(
        ["sh", "-c", script, "sh", *COMMAND, *arguments], capture_output=True, env=bare, stdin=subprocess.DEVNULL
    )
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout == expected.stdout
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *arguments], capture_output=True, env=bare)
    assert closed.returncode in (0, 1) and b"Traceback" not in closed.stderr
    both = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *COMMAND, "recpie"], capture_output=True, env=bare)
    assert both.returncode == 2


@pytest.mark.row(70)
def test_names_that_the_terminal_cannot_show(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ü 😀"
    folder.mkdir()
    (folder / "ü.toml").write_text('kind = "vae.train"\n[vae]\nwidht = 1\n')
    bare = {**os.environ, "PYTHONPATH": str(repository), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = subprocess.run([*COMMAND, "recipe", "check", str(folder / "ü.toml")], capture_output=True, env=bare)
    assert found.returncode == 2 and b"Traceback" not in found.stderr and b"is a bug" not in found.stderr
    copied = subprocess.run(
        [*COMMAND, "recipe", "copy", "nano/vae", str(folder / "ö.toml")], capture_output=True, env=bare
    )
    assert copied.returncode == 0, copied.stderr
    assert copied.stdout.decode("utf-8").strip() == str(folder / "ö.toml")
