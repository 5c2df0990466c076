"""Manifests merged: files stay where they are, nothing twice, and nothing both trained on and validated on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soracli.core.errors import DataError, UsageError
from soracli.data.manifest import Clip, read_manifest, write_manifest
from soracli.pipelines.merge_clips import merge_clips


def make_manifest(folder: Path, numbers: range, validation: int = 0) -> Path:
    """A manifest of clips that only the numbers tell apart; the first few are for validation."""
    clip = Clip(
        path="", start=0, num_frames=8, fps=8, height=8, width=8, seconds=1, caption="", sha256="", clip_id="",
        kind="video", split="train", original_name="",
    )  # fmt: skip
    clips = [
        replace(
            clip,
            path=f"{number}.mp4",
            sha256=f"{number:064x}",
            clip_id=f"{number:032x}",
            split="validation" if index < validation else "train",
        )
        for index, number in enumerate(numbers)
    ]
    write_manifest(folder / "clips.jsonl", clips, {})
    return folder / "clips.jsonl"


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    return [make_manifest(folders[0], range(10), 2), make_manifest(folders[1], range(8, 14))]


def test_clips_in_order_and_files_where_they_are(two: list[Path], tmp_path: Path) -> None:
    summary = merge_clips(tmp_path / "a" / "all.jsonl", two, overwrite=False)
    merged = read_manifest(summary.manifest)
    assert [int(clip.clip_id, 16) for clip in merged.clips] == list(range(14))
    assert [merged.locate(merged.clips[index]) for index in (0, 13)] == [
        two[0].parent / "0.mp4",
        two[1].parent / "13.mp4",
    ]
    assert (merged.clips[0].path, merged.clips[13].path) == ("0.mp4", str(two[1].parent / "13.mp4"))
    assert (summary.num_clips, summary.num_validation, summary.duplicates) == (14, 2, 2)
    assert summary.taken == ((two[0], 10), (two[1], 4))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 40), validation=st.integers(0, 5), limit=st.integers(1, 50))
def test_a_limit_takes_so_many_and_spreads_them(tmp_path: Path, count: int, validation: int, limit: int) -> None:
    manifest = make_manifest(tmp_path, range(count), min(validation, count))
    merged = merge_clips(tmp_path / "out" / "all.jsonl", [manifest], limit, overwrite=True)
    training = [int(clip.clip_id, 16) for clip in read_manifest(merged.manifest).clips if clip.split == "train"]
    assert merged.num_validation == min(validation, count)
    assert len(training) == min(limit, count - merged.num_validation)
    steps = [after - before for before, after in pairwise(training)]
    assert not steps or (min(steps) >= 1 and max(steps) - min(steps) <= 1)


def test_what_is_trained_on_is_not_validated_on(two: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "c"
    other.mkdir()
    make_manifest(other, range(5, 7), 1)
    with pytest.raises(DataError, match=r"5\.mp4: is for validation in .* and for train in .*give it one split"):
        merge_clips(tmp_path / "all.jsonl", [*two, other / "clips.jsonl"], overwrite=False)
    assert not (tmp_path / "all.jsonl").exists()


def test_nothing_is_overwritten_unasked(two: list[Path]) -> None:
    with pytest.raises(UsageError, match="--overwrite replaces it"):
        merge_clips(two[1], two[:1], overwrite=False)
    with pytest.raises(UsageError, match="merged into itself"):
        merge_clips(two[1], two, overwrite=True)
