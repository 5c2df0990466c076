"""Where videos go: names from prompts for any prompt, numbers, folders that keep what is made, refusals."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import UsageError
from soracli.pipelines import output_names
from soracli.pipelines.output_names import Output, output_files, prompt_name, sheet_name


def records(*pairs: tuple[str, int]) -> list[dict]:
    return [{"prompt": prompt, "seed": seed} for prompt, seed in pairs]


def names(found: list[Output]) -> list[str]:
    return [str(output.path) for output in found]


def files(wanted: list[dict], out: str | None = None, *, overwrite: bool = False, sheet: bool = False) -> list[Output]:
    return output_files(wanted, None if out is None else Path(out), overwrite=overwrite, contact_sheet=sheet)


@given(st.text(max_size=200))
def test_any_prompt_gives_a_name(prompt: str) -> None:
    name = prompt_name(prompt)
    assert 0 < len(name) <= 60 and len(name.encode()) <= 180
    assert all(char.isalnum() or char == "-" or char.isidentifier() or char.isnumeric() for char in name), name
    assert not name.startswith("-") and "/" not in name


def test_names_of_prompts() -> None:
    assert prompt_name("A red ball, bounces on GREEN grass!") == "a-red-ball-bounces-on-green-grass"
    assert prompt_name("  ../etc/passwd ") == "etc-passwd"
    assert prompt_name("🚀🚀") == "video"
    assert prompt_name("красный мяч") == "красный-мяч"
    assert prompt_name("word " * 30) == "-".join(["word"] * 12)
    assert len(prompt_name("x" * 100)) == 60


def test_without_a_name(workspace: Path) -> None:
    Path("a-ball-7.mp4").touch()
    Path("a-ball-8.part.mp4").touch()
    wanted = records(("a ball", 7), ("A  ball!", 7), ("a ball", 8), ("a cube", 7))
    assert names(files(wanted)) == ["a-ball-7-2.mp4", "a-ball-7-3.mp4", "a-ball-8-2.mp4", "a-cube-7.mp4"]
    assert names(files(wanted[:1], overwrite=True)) == ["a-ball-7.mp4"]
    sheet_name(Path("a-cube-7.mp4")).touch()
    assert names(files(wanted[3:], sheet=True)) == ["a-cube-7-2.mp4"]


def test_a_named_file(workspace: Path) -> None:
    wanted = records(("a", 1), ("b", 1))
    assert names(files(wanted[:1], "x/y.mp4")) == ["x/y.mp4"]
    assert names(files(wanted, "y.png")) == ["y-1.png", "y-2.png"]
    Path("y-2.png").touch()
    with pytest.raises(UsageError, match=r"^y-2\.png exists; give another name, or --overwrite$"):
        files(wanted, "y.png")
    assert names(files(wanted, "y.png", overwrite=True)) == ["y-1.png", "y-2.png"]
    Path("z-contact-sheet.png").touch()
    with pytest.raises(UsageError, match=r"^z-contact-sheet\.png exists"):
        files(wanted[:1], "z.mp4", sheet=True)


def test_a_folder_keeps_what_is_made(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = records(("a", 1), ("b", 1))
    assert names(files(wanted, "new")) == ["new/a-1.mp4", "new/b-1.mp4"]
    folder = workspace / "made.here"
    folder.mkdir()
    (folder / "a-1.mp4").touch()
    (folder / "b-1.part.mp4").touch()  # left by a stop: made again
    monkeypatch.setattr(output_names, "read_record", lambda path: {"prompt": "a", "seed": 1, "sora": "0"})
    assert files(wanted, "made.here") == [Output(Path("made.here/a-1.mp4"), True), Output(Path("made.here/b-1.mp4"))]
    monkeypatch.setattr(output_names, "read_record", lambda path: {"prompt": "a", "seed": 2})
    assert files(wanted[:1], "made.here") == [Output(Path("made.here/a-1-2.mp4"))]
    assert files(wanted[:1], "made.here", overwrite=True) == [Output(Path("made.here/a-1.mp4"))]
