"""Records in videos: any text comes back as it was put in; other files have none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.data.video_record import read_record
from soracli.data.video_write import VideoWriter

FRAMES = np.zeros((2, 16, 16, 3), np.uint8)


@settings(max_examples=8)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("video") / "x.mp4"
    record = {"prompt": text, "seed": 2**63 - 1, "fps": 29.97, "list": [1, {"a": None}]}
    with VideoWriter(path, fps=8, metadata=record) as writer:
        writer.write(FRAMES)
    assert read_record(path) == record


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".webm"])
def test_other_containers(tmp_path: Path, suffix: str) -> None:
    record = {"prompt": "x = 1; # \\\\ \n" + "long " * 700}
    with VideoWriter(tmp_path / f"x{suffix}", fps=8, metadata=record) as writer:
        writer.write(FRAMES)
    assert read_record(tmp_path / f"x{suffix}") == record


def test_files_without_a_record(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with VideoWriter(tmp_path / "plain.mp4", fps=8) as writer:
        writer.write(FRAMES)
    assert [read_record(tmp_path / name) for name in ("text.mp4", "plain.mp4", "none.mp4")] == [{}, {}, {}]
