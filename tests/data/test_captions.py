"""Captions of every nasty kind against what is kept of them, and what is said about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.captions import MAX_CAPTION, Caption, CaptionTable, clean_caption, read_caption_file, read_metadata


@pytest.mark.row(56)
@given(st.text())
def test_a_clean_caption_is_one_line_of_utf8_and_stays_clean(text: str) -> None:
    kept, _ = clean_caption(text)
    kept.encode("utf-8")
    assert len(kept) <= MAX_CAPTION
    assert kept == " ".join(kept.split())
    assert clean_caption(kept) == (kept, "")


@pytest.mark.row(56)
def test_what_is_dropped_is_told() -> None:
    assert clean_caption(' "quoted"\r\n and 😀 ') == ('"quoted" and 😀', "")
    assert clean_caption("a\0b\ud83dc") == ("abc", "2 control characters dropped from the caption")
    kept, problem = clean_caption("x" * 100_000)
    assert (len(kept), problem) == (4096, "caption of 100000 characters cut to 4096")


@pytest.mark.row(56)
@pytest.mark.parametrize(
    ("raw", "caption", "problem"),
    [
        (b"plain\n", "plain", ""),
        (b"\xef\xbb\xbfwith mark\r\n", "with mark", ""),
        ("wide ü".encode("utf-16"), "wide ü", ""),
        (b"caf\xe9", "caf�", "not UTF-8"),
        (b"", "", ""),
    ],
)
def test_caption_files(tmp_path: Path, raw: bytes, caption: str, problem: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    kept, said = read_caption_file(path)
    assert kept == caption
    assert problem in said
    assert bool(said) == bool(problem)


def test_caption_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    assert read_caption_file(tmp_path / "a.txt") == ("", "caption cannot be read: is a directory")


def read(path: Path, content: bytes) -> CaptionTable:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    table = CaptionTable()
    read_metadata(path, path.parents[1], table)
    return table


@pytest.mark.row(56)
def test_json_lines(tmp_path: Path) -> None:
    records = [
        {"file_name": "a.mp4", "caption": 'quotes "here" 😀'},
        {"file_name": "x/b.mp4", "text": "as text", "split": "validation"},
        {"caption": "nobody's"},
        {"file_name": "c.mp4", "caption": 3},
        {"file_name": "d.mp4", "caption": "d", "split": "dev"},
        {"file_name": "e.mp4", "caption": "y" * 100_000},
        {"file_name": "f.mp4"},
    ]
    content = "﻿" + "\n".join(map(json.dumps, records)) + "\n\n{broken\n[]\n"
    table = read(tmp_path / "sub" / "metadata.jsonl", content.encode())
    assert table.entries == {
        "sub/a.mp4": Caption('quotes "here" 😀', "train"),
        "sub/x/b.mp4": Caption("as text", "validation"),
        "sub/d.mp4": Caption("d", "train"),
        "sub/e.mp4": Caption("y" * 4096, "train"),
        "sub/f.mp4": Caption("", "train"),
    }
    assert [name.rpartition(":")[2] for name, _ in table.problems] == ["3", "4", "5", "6", "9", "10"]
    assert all(name.startswith("sub/metadata.jsonl:") for name, _ in table.problems)


@pytest.mark.row(56)
def test_csv(tmp_path: Path) -> None:
    content = 'file_name,caption,split\r\na.mp4,"two\nlines, ""quoted"" 😀",\r\nb.mp4,line\u2028end,validation\r\n'
    table = read(tmp_path / "sub" / "metadata.csv", b"\xef\xbb\xbf" + content.encode())
    assert table.entries == {
        "sub/a.mp4": Caption('two lines, "quoted" 😀', "train"),
        "sub/b.mp4": Caption("line end", "validation"),
    }
    assert table.problems == []


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"name,caption\na,b\n", "file_name"), (b"", "file_name"), (b"file_name,text\na.mp4," + b"x" * 200_000, "no CSV")],
)
def test_wrong_csv(tmp_path: Path, content: bytes, says: str) -> None:
    table = read(tmp_path / "sub" / "metadata.csv", content)
    assert table.entries == {}
    assert says in table.problems[0][1]
