"""What is found in a folder of real names, links and hidden things, against the list of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from soracli.data.clip_files import find_clip_files


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_everything_is_sorted_into_its_place(tmp_path: Path) -> None:
    names = ["b.MP4", "a.mp4", "sub/c.webm", "sub/d.png", "a-1/e.gif", "ü 😀.mov"]
    touch(*(tmp_path / name for name in names))
    touch(tmp_path / "a.txt", tmp_path / "sub" / "metadata.jsonl", tmp_path / "metadata.csv", tmp_path / "clips.jsonl")
    touch(tmp_path / ".hidden.mp4", tmp_path / ".git" / "x.mp4", tmp_path / "a.part.mp4", tmp_path / "notes.pdf")
    found = find_clip_files(tmp_path)
    assert found.clips == sorted(names)
    assert found.texts == {"a.txt"}
    assert found.metadata == ["metadata.csv", "sub/metadata.jsonl"]
    assert found.ignored == 2
    assert found.problems == []


@pytest.mark.row(52, 57)
def test_links_stay_inside(tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "out"
    touch(folder / "a.mp4", outside / "b.mp4")
    (folder / "same.mp4").symlink_to("a.mp4")
    (folder / "b.mp4").symlink_to(outside / "b.mp4")
    (folder / "gone.mp4").symlink_to("nothing.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "there").symlink_to(outside)
    (folder / "again").symlink_to(folder)
    found = find_clip_files(folder)
    assert found.clips == ["a.mp4", "same.mp4"]
    assert dict(found.problems) == {
        "b.mp4": "is a link out of the folder; not followed",
        "gone.mp4": "is a link to nothing",
        "loop.mp4": "is a link to nothing",
        "there": "is a link out of the folder; not followed",
    }


def test_a_linked_root_is_a_root(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "a.mp4")
    (tmp_path / "link").symlink_to("real")
    assert find_clip_files(tmp_path / "link").clips == ["a.mp4"]


@pytest.mark.row(54)
def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    found = find_clip_files(tmp_path)
    assert found.clips == []
    assert found.problems == [("caf\\udce9.mp4", "its name is not UTF-8; rename it")]
