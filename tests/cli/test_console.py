"""What the console writes, against exact lines; the bars of a terminal through a stream that claims to be one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from soracli.cli.console import TerminalReporter, print_json, print_result, print_table


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_come_every_five_seconds_and_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with TerminalReporter(stream, clock).task("vae train", 40, "steps") as task:
        for second in range(1, 13):
            clock.now = float(second)
            task.advance(2, loss=1 / second)
    assert stream.getvalue().splitlines() == [
        "vae train: 10/40 steps, 2 steps/s, 15s left, loss=0.2",
        "vae train: 20/40 steps, 2 steps/s, 10s left, loss=0.1",
        "vae train: 24/40 steps, in 12s, loss=0.08333",
    ]


def test_the_last_line_comes_also_when_work_fails() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError), TerminalReporter(stream, Clock()).task("x", None, "clips") as task:
        task.advance(3)
        raise ValueError
    assert stream.getvalue() == "x: 3 clips, in 0s\n"


def test_notes_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalReporter().note("saved [bold]x[/bold] :smile:")
    assert capsys.readouterr() == ("", "saved [bold]x[/bold] :smile:\n")


def test_bars_and_notes_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    stream, clock = Terminal(), Clock()
    reporter = TerminalReporter(stream, clock)
    with reporter.task("outer [x]", 4, "steps") as outer:
        outer.advance(1, loss=0.5)
        clock.now = 1.0
        with reporter.task("inner", None, "clips") as inner:
            inner.advance(2)
            reporter.note("saved [bold]x[/bold]")
        outer.advance(1)
    written = stream.getvalue()
    for text in (
        "outer [x]",
        "inner",
        "2/4 steps",
        "1 steps/s, 2s left",
        "loss=0.5",
        "2 clips",
        "saved [bold]x[/bold]",
    ):
        assert text in written
    reporter.note("after")
    assert stream.getvalue().endswith("after\n"), "the bars are closed with their task"


def test_a_second_task_follows_a_first_one_that_failed() -> None:
    reporter = TerminalReporter(Terminal(), Clock())
    with pytest.raises(ValueError), reporter.task("first", 1, "steps"):
        raise ValueError
    with reporter.task("second", 1, "steps") as task:
        task.advance()


def test_tables_align_what_a_terminal_shows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [("a", 10), ("日本", 2), ("e\u0301e", 3)])
    assert capsys.readouterr() == ("name  n\na     10\n日本  2\ne\u0301e    3\n", "")


def test_an_empty_table_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "kind"), [])
    assert capsys.readouterr().out == "name  kind\n"


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"path": Path("a/b"), "loss": float("nan"), "sizes": (1, float("inf")), 3: "é"})
    written = capsys.readouterr().out
    assert json.loads(written) == {"path": "a/b", "loss": None, "sizes": [1, None], "3": "é"}
    assert "é" in written


def test_results_are_lines_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(Path("runs/x"))
    assert capsys.readouterr() == ("runs/x\n", "")
