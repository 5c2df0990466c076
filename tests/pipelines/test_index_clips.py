"""An index of real tiny files, good and bad, against what was put in the folder; made again against made anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from soracli.core.errors import DataError, UsageError
from soracli.data.manifest import read_manifest
from soracli.data.video_read import read_frames
from soracli.pipelines import index_clips as module
from soracli.pipelines.index_clips import IndexOptions, cut_excerpts, index_clips
from tests.data.media import cut_file, make_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A long video, a short one of another size below, a picture, an animation, and four broken files."""
    clips = tmp_path / "clips"
    (clips / "sub").mkdir(parents=True)
    make_video(clips / "long.mp4", "testsrc2=s=64x48:r=24:d=5.5", "-pix_fmt", "yuv420p", "-movflags", "+faststart")
    make_video(clips / "sub" / "short.webm", "testsrc2=s=32x32:r=12:d=1", "-c:v", "libvpx", "-pix_fmt", "yuv420p")
    Image.new("RGB", (40, 30), (200, 100, 50)).save(clips / "picture.png")
    grey = [Image.new("RGB", (20, 20), (level,) * 3) for level in (10, 90, 170, 250)]
    grey[0].save(clips / "moving.webp", save_all=True, append_images=grey[1:], duration=125)
    (clips / "long.txt").write_text("a test picture\n")
    records = [
        {"file_name": "long.mp4", "caption": "hidden by the text file", "split": "validation"},
        {"file_name": "picture.png", "text": "x" * 100_000},
        {"file_name": "gone.mp4", "caption": "nothing there"},
    ]
    (clips / "metadata.jsonl").write_text("\n".join(map(json.dumps, records)))
    (clips / "sub" / "metadata.csv").write_text('file_name,caption\nshort.webm,"a ""short"" one 😀"\n')
    (clips / "text.mp4").write_text("no video")
    (clips / "empty.mp4").touch()
    (clips / "link.mp4").symlink_to("/dev/null")
    cut_file(clips / "long.mp4", clips / "cut.mp4", 0.8)
    return clips


@pytest.mark.row(47)
def test_the_whole_folder(folder: Path) -> None:
    summary = index_clips(folder)
    manifest = read_manifest(folder / "clips.jsonl")
    assert summary.manifest == folder / "clips.jsonl"
    clips = {clip.path: clip for clip in manifest.clips}
    assert list(clips) == ["long.mp4", "moving.webp", "picture.png", "sub/short.webm"]
    long = clips["long.mp4"]
    assert (long.num_frames, long.fps, long.height, long.width, long.kind) == (132, 24.0, 48, 64, "video")
    assert (long.caption, long.split) == ("a test picture", "validation")
    assert (clips["moving.webp"].num_frames, clips["moving.webp"].fps, clips["moving.webp"].caption) == (4, 8.0, "")
    assert clips["picture.png"].caption == "x" * 4096
    assert clips["sub/short.webm"].caption == 'a "short" one 😀'
    assert clips["sub/short.webm"].original_name == "short.webm"
    assert (summary.num_files, summary.num_clips, summary.num_images, summary.num_validation) == (4, 4, 1, 1)
    assert summary.captions_missing == 1
    assert summary.seconds == pytest.approx(5.5 + 1 + 0.5)
    assert summary.sizes[(48, 64)] == 1
    problems = dict(summary.problems)
    assert sorted(problems) == ["cut.mp4", "empty.mp4", "link.mp4", "text.mp4"]
    assert "frames can be decoded" in problems["cut.mp4"]
    assert problems["empty.mp4"] == "is empty (0 bytes)"
    assert "out of the folder" in problems["link.mp4"]
    remarks = dict(summary.remarks)
    assert remarks["metadata.jsonl:2"] == "caption of 100000 characters cut to 4096"
    assert "is not there" in remarks["gone.mp4"]


def test_every_clip_can_be_read(folder: Path) -> None:
    index_clips(folder, options=IndexOptions(excerpt=2, fps=8))
    manifest = read_manifest(folder / "clips.jsonl")
    for clip in manifest.clips:
        path = manifest.locate(clip)
        frames = read_frames(path, start=clip.start, num_frames=clip.num_frames, fps=clip.fps)
        assert frames.shape == (clip.num_frames, clip.height, clip.width, 3)
    excerpts = [clip for clip in manifest.clips if clip.path == "long.mp4"]
    assert [(clip.start, clip.num_frames) for clip in excerpts] == [(0, 16), (2, 16), (4, 12)]
    assert len({clip.clip_id for clip in manifest.clips}) == len(manifest.clips)
    parts = [read_frames(folder / "long.mp4", start=clip.start, num_frames=clip.num_frames, fps=8) for clip in excerpts]
    assert np.array_equal(np.concatenate(parts), read_frames(folder / "long.mp4", fps=8))


def test_damaged_files_on_request(folder: Path) -> None:
    summary = index_clips(folder, options=IndexOptions(keep_damaged=True))
    assert "cut.mp4" not in dict(summary.problems)
    assert "kept in part" in dict(summary.remarks)["cut.mp4"]
    again = index_clips(folder, options=IndexOptions(keep_damaged=True))
    assert again.remarks == summary.remarks


def test_made_again_only_new_and_changed_files_are_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = index_clips(folder, options=IndexOptions(excerpt=2))
    assert first.reused == 0
    probed: list[str] = []
    plain = module.probe_video

    def counting(path: Path, **options: object) -> object:
        probed.append(path.name)
        return plain(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "probe_video", counting)
    before = (folder / "clips.jsonl").read_bytes()
    second = index_clips(folder, options=IndexOptions(excerpt=2, timeout=30))
    assert second.reused == 4
    # Broken files are looked at again: they may have been mended.
    assert sorted(probed) == ["cut.mp4", "empty.mp4", "text.mp4"]
    assert (folder / "clips.jsonl").read_bytes() == before

    probed.clear()
    Image.new("RGB", (50, 30)).save(folder / "picture.png")
    (folder / "long.mp4").rename(folder / "renamed.mp4")
    (folder / "renamed.txt").write_text("new words")
    third = index_clips(folder, options=IndexOptions(excerpt=2))
    assert sorted(probed) == ["cut.mp4", "empty.mp4", "picture.png", "text.mp4"]
    again = read_manifest(folder / "clips.jsonl")
    assert [clip.caption for clip in again.clips if clip.path == "renamed.mp4"] == ["new words"] * 3
    assert third.sizes[(30, 50)] == 1
    (folder / "clips.jsonl").unlink()
    index_clips(folder, options=IndexOptions(excerpt=2))
    assert read_manifest(folder / "clips.jsonl").clips == again.clips

    # Another version may count otherwise.
    manifest = folder / "clips.jsonl"
    manifest.write_text(manifest.read_text().replace("sora-trainer ", "sora-trainer 0.0.", 1))
    assert index_clips(folder, options=IndexOptions(excerpt=2)).reused == 0
    probed.clear()
    index_clips(folder, options=IndexOptions(excerpt=3))
    assert len(probed) == 7


def test_workers_give_the_same(folder: Path) -> None:
    alone = index_clips(folder, folder / "one.jsonl")
    together = index_clips(folder, folder / "two.jsonl", workers=2)
    assert (folder / "one.jsonl").read_bytes() == (folder / "two.jsonl").read_bytes()
    assert alone.problems == together.problems


def test_copies_are_counted_and_kept(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "picture.png").read_bytes())
    summary = index_clips(folder)
    assert summary.duplicates == 1
    clips = {clip.path: clip.clip_id for clip in read_manifest(summary.manifest).clips}
    assert clips["copy.png"] == clips["picture.png"]
    assert index_clips(folder).num_clips == summary.num_clips


def test_a_manifest_elsewhere_names_files_absolutely(folder: Path, tmp_path: Path) -> None:
    index_clips(folder, tmp_path / "lists" / "clips.jsonl")
    manifest = read_manifest(tmp_path / "lists" / "clips.jsonl")
    assert all(manifest.locate(clip).is_file() for clip in manifest.clips)
    assert manifest.clips[0].path == str(folder / "long.mp4")


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        index_clips(tmp_path / "none")
    with pytest.raises(DataError, match="is a file"):
        index_clips(folder / "long.mp4")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "a.pdf").touch()
    with pytest.raises(DataError, match="holds no video"):
        index_clips(tmp_path / "bare")
    (tmp_path / "bare" / "a.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"none of its 1 clip files can be used; a\.mp4: "):
        index_clips(tmp_path / "bare")
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        index_clips(folder, notes)
    assert notes.read_text() == "mine"
    index_clips(folder, notes, overwrite=True)
    with pytest.raises(UsageError, match="--min-excerpt"):
        IndexOptions(min_excerpt=2)
    with pytest.raises(UsageError, match="--min-excerpt"):
        IndexOptions(excerpt=1, min_excerpt=2)


@given(num_frames=st.integers(1, 5000), size=st.integers(1, 500), data=st.data())
def test_excerpts_are_the_whole_file(num_frames: int, size: int, data: st.DataObject) -> None:
    minimum = data.draw(st.integers(1, size))
    cuts = cut_excerpts(num_frames, size, minimum)
    assert [first for first, _ in cuts] == [sum(count for _, count in cuts[:k]) for k in range(len(cuts))]
    assert sum(count for _, count in cuts) == num_frames
    assert all(count == size for _, count in cuts[:-1])
    assert cuts[-1][1] < size + minimum
    assert cuts[-1][1] >= minimum or len(cuts) == 1
