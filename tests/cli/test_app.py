"""The command as a whole: exit codes, streams, --debug and --version, through main() and as a process."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys

import pytest
import typer

import soracli
import soracli.cli
from soracli.cli import app as app_module
from soracli.cli.app import build_app, main
from soracli.core.errors import DataError, Stopped


def with_command(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Add a command ``fail`` that prints and raises."""

    class Group:
        @staticmethod
        def register(app: typer.Typer) -> None:
            @app.command("fail")
            def fail(words: list[str] | None = None) -> None:
                """Raise."""
                print("result", words)
                if error is not None:
                    raise error

    monkeypatch.setattr(app_module, "_GROUPS", (*app_module._GROUPS, Group))


def test_help_and_no_arguments_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr()
    assert main([]) == 0
    assert capsys.readouterr() == shown
    assert "recipe" in shown.out
    assert "doctor" in shown.out
    assert shown.err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr() == (f"sora {soracli.__version__}\n", "")


def test_every_group_is_registered() -> None:
    modules = [
        importlib.import_module(f"soracli.cli.{found.name}") for found in pkgutil.iter_modules(soracli.cli.__path__)
    ]
    groups = {module for module in modules if hasattr(module, "register")}
    assert groups == set(app_module._GROUPS)


def test_every_command_has_a_help_text() -> None:
    def walk(name: str, command: object) -> None:
        assert getattr(command, "help", None), f"{name} has no docstring"
        for below, group in getattr(command, "commands", {}).items():
            walk(f"{name} {below}", group)

    walk("sora", typer.main.get_command(build_app()))


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (DataError("clip.mp4: no frames"), 3, "sora: error: clip.mp4: no frames\n"),
        (Stopped("at step 3"), 75, "sora: stopped: at step 3\n"),
        (KeyboardInterrupt(), 130, "sora: interrupted\n"),
        (typer.Exit(7), 7, ""),
        (KeyError("x"), 1, "sora: error: this is a bug: KeyError: 'x'; run again with --debug for the traceback\n"),
    ],
)
def test_codes_and_lines(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
    code: int,
    line: str,
) -> None:
    with_command(monkeypatch, error)
    assert main(["fail"]) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with_command(monkeypatch, DataError("no frames"))
    assert main(arguments) == 3
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert error.endswith("sora: error: no frames\n")


def test_debug_behind_two_dashes_is_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Group:
        @staticmethod
        def register(app: typer.Typer) -> None:
            @app.command("say")
            def say(word: str) -> None:
                """Print."""
                print(word)

    monkeypatch.setattr(app_module, "_GROUPS", (Group,))
    assert main(["say", "--", "--debug"]) == 0
    assert capsys.readouterr().out == "--debug\n"


def test_wrong_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recpie"]) == 2
    assert capsys.readouterr() == ("", "sora: error: no command 'sora recpie'; did you mean 'sora recipe'?\n")


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "soracli.cli.app"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sora {soracli.__version__}\n", "")
    wrong = subprocess.run([*command, "--verison"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "sora: error: no option --verison; did you mean --version?\n"


@pytest.mark.row(70)
def test_a_reader_that_leaves_early_causes_no_noise() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "soracli.cli.app", "--version"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_ranks_that_stopped_leave_with_0_and_one_of_them_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_command(monkeypatch, Stopped("SIGUSR1 after step 3"))
    place = {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_JOB_NODELIST": "localhost", "SLURM_STEP_NUM_TASKS": "2"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    for rank, said in enumerate(("sora: stopped: SIGUSR1 after step 3\n", "")):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        assert main(["fail"]) == 0
        assert capsys.readouterr().err == said
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert main(["fail"]) == 75
