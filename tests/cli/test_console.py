"""What the console writes, against exact lines; the bars of a terminal through a stream that claims to be one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from soracli.cli.console import TerminalPreview, TerminalReporter, print_json, print_result, print_table
from soracli.data import video_probe
from soracli.data.video_read import probe_video
from soracli.data.video_write import VideoWriter


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


def test_a_preview_is_drawn_under_the_bars_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("COLUMNS", "100"), ("LINES", "40"), ("COLORTERM", "truecolor"), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    stream, clock = Terminal(), Clock()
    reporter = TerminalReporter(stream, clock, refreshes=0.001)
    preview = TerminalPreview(reporter)
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[1, :32], frames[1, 32:] = (10, 20, 30), (40, 50, 60)
    preview.show(Path("x.part.mp4"), frames, 8.0, 2)  # no bars, no picture
    assert stream.getvalue() == ""
    with reporter.task("generate", 4, "frames") as task:
        for shown in (frames, frames[:1]):  # the second comes at the same moment
            preview.show(Path("x.part.mp4"), shown, 8.0, 2)
            task.advance(2)
        clock.now = 1.0
        reporter._progress.refresh()  # type: ignore[union-attr]
        drawn = stream.getvalue()
        preview.show(Path("x.part.mp4"), frames[:1], 8.0, 4)
        reporter._progress.refresh()  # type: ignore[union-attr]
    assert "4/4 frames" in drawn and drawn.count("▀") == 20 * 40
    assert drawn.count("38;2;10;20;30;48;2;10;20;30m") == drawn.count("38;2;40;50;60;48;2;40;50;60m") == 10 * 40
    after = stream.getvalue()[len(drawn) :]
    assert after.count("38;2;0;0;0;48;2;0;0;0m") == 20 * 40, "the next one comes a moment later, and goes with the bars"


def test_a_small_terminal_has_room_for_the_bars_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    reporter = TerminalReporter(Terminal(), Clock())
    assert reporter.picture_columns() == 0
    for lines, columns, found in ((40, 100, 40), (40, 30, 30), (16, 100, 20), (5, 100, 0)):
        monkeypatch.setenv("LINES", str(lines))
        monkeypatch.setenv("COLUMNS", str(columns))
        with reporter.task("generate", 4, "frames"):
            assert reporter.picture_columns() == found


def test_elsewhere_a_line_says_what_plays_when_it_does(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, asked = io.StringIO(), []
    reporter = TerminalReporter(stream, Clock())
    preview = TerminalPreview(reporter)
    is_playing = video_probe.playable_seconds
    monkeypatch.setattr(video_probe, "playable_seconds", lambda path: asked.append(path) or is_playing(path))
    path = workspace / "x.mkv"
    with VideoWriter(path, fps=8.0, lossless=True) as writer:
        for _ in range(40):
            writer.write(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
            before = stream.getvalue()
            preview.show(writer.part, np.zeros((4, 64, 64, 3), np.uint8), 8.0, writer.num_frames)
            if stream.getvalue() != before:
                assert probe_video(writer.part, allow_damaged=True).num_frames >= 8
    (line,) = stream.getvalue().splitlines()
    assert line.startswith(f"{writer.part} plays already, ") and line.endswith(" seconds of it")
    assert 1 <= len(asked) <= 20  # after a second of video, once a second, until it plays


def test_a_file_that_does_not_play_yet(workspace: Path) -> None:
    Path("x.part.mp4").write_bytes(b"\0\0\0 ftypisom")
    assert video_probe.playable_seconds(Path("x.part.mp4")) == 0 == video_probe.playable_seconds(Path("none.mp4"))


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
