"""Manifests written and read back for all captions; every kind of wrong line named by number."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soracli.core.errors import DataError
from soracli.data.manifest import Clip, clip_id_of, path_in_manifest, read_manifest, write_manifest

CLIP = Clip(
    path="a/b.mp4",
    start=0.5,
    num_frames=24,
    fps=24.0,
    height=48,
    width=64,
    seconds=1.0,
    caption="a red ball",
    sha256="ab" * 32,
    clip_id="cd" * 16,
    kind="video",
    split="train",
    original_name="b.mp4",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "clips.jsonl"
    other = replace(CLIP, path="/elsewhere/c.png", kind="image", split="validation", caption="")
    write_manifest(path, [CLIP, other], {"excerpt": 8.0})
    manifest = read_manifest(path)
    assert manifest.clips == (CLIP, other)
    assert manifest.options == {"excerpt": 8.0}
    assert manifest.made_by.startswith("sora-trainer ")
    assert manifest.locate(CLIP) == tmp_path / "a/b.mp4"
    assert manifest.locate(other) == Path("/elsewhere/c.png")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(caption=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_caption_comes_back(tmp_path: Path, caption: str) -> None:
    write_manifest(tmp_path / "clips.jsonl", [replace(CLIP, caption=caption)], {})
    assert read_manifest(tmp_path / "clips.jsonl").clips[0].caption == caption


def test_paths_are_relative_inside_and_absolute_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert path_in_manifest(tmp_path / "x" / "a.mp4", tmp_path) == "x/a.mp4"
    assert path_in_manifest(tmp_path / "a.mp4", tmp_path / "x") == str(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    assert path_in_manifest(Path("x/a.mp4"), tmp_path) == "x/a.mp4"
    assert path_in_manifest(Path("x/a.mp4"), Path("x")) == "a.mp4"


def test_the_id_changes_with_the_content_only() -> None:
    same = clip_id_of("ab", 1 / 3, 24, 24.0)
    assert same == clip_id_of("ab", 8 / 24, 24, 24.0)
    others = [("ac", 1 / 3, 24, 24.0), ("ab", 0.0, 24, 24.0), ("ab", 1 / 3, 25, 24.0), ("ab", 1 / 3, 24, 12.0)]
    assert len({same, *(clip_id_of(*other) for other in others)}) == 5


@pytest.mark.row(57)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"caption": None}, "'caption' must be text"),
        ({"num_frames": 0}, "'num_frames' must be above 0"),
        ({"num_frames": 2.5}, "'num_frames' must be a whole number"),
        ({"num_frames": True}, "'num_frames' must be a whole number"),
        ({"fps": "24"}, "'fps' must be a finite number"),
        ({"start": -1}, "'start' must not be below 0"),
        ({"kind": "film"}, "'kind' must be one of video, animation, image"),
        ({"path": "../x.mp4"}, "leads out of the manifest's folder"),
        ({"path": "a\0b"}, "no file name"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = tmp_path / "clips.jsonl"
    write_manifest(path, [CLIP, CLIP], {})
    lines = path.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    assert f"{path}:3: " in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.row(57)
@pytest.mark.parametrize(
    ("line", "says"),
    [("{", "is not JSON"), ("[1]", "must be a JSON object, got list"), ("{}", "'path' is missing"), ("NaN", "float")],
)
def test_no_record_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "clips.jsonl"
    write_manifest(path, [CLIP], {})
    path.write_text(path.read_text() + line)
    with pytest.raises(DataError, match=says) as caught:
        read_manifest(path)
    assert f"{path}:3: " in str(caught.value)


@pytest.mark.row(57)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello\n", ":1: is not JSON"),
        (b'{"a": 1}\n', ":1: is no manifest"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b'{"format": "sora-clips", "version": 2, "made_by": "sora-trainer 9", "options": {}}', "newer"),
        (b'{"format": "sora-clips", "version": "1", "options": {}}', "version must be a whole number"),
        (b'{"format": "sora-clips", "version": 1}', "options must be an object"),
        (b'{"format": "sora-clips", "version": 1, "options": {}}\n', "has no clips"),
        (b"[" * 100_000, ":1: is not JSON"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "clips.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_manifest(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such manifest.*sora clips index"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"is a folder.*sora clips index"):
        read_manifest(tmp_path)


def test_no_torch_and_no_numpy() -> None:
    script = "import sys, soracli.data.manifest; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).resolve().parents[2])
