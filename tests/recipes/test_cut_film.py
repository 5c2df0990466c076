"""Excerpts of footage made here: the frames of the listed stretch, bit for bit those of the whole as sora reads it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import imageio_ffmpeg
import numpy as np
import pytest

from soracli.data.video_read import read_frames


@pytest.fixture
def script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "recipes" / "base"))
    spec = importlib.util.spec_from_file_location("cut_film", repository / "recipes" / "base" / "cut_film.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_film(path: Path, height: int, codec: str) -> None:
    """Two seconds of 25 frames each, every one different."""
    t, y, x = np.mgrid[:50, :height, :64]
    frames = np.stack([4 * t + y, 3 * x + t, 5 * y - 2 * t], axis=-1).astype(np.uint8)
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"64x{height}", "-r", "25", "-i", "pipe:0")
    written = ("-pix_fmt", "yuv420p", "-c:v", codec, "-g", "12", str(path))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, *written]
    subprocess.run(command, input=frames.tobytes(), check=True, timeout=60)


# An odd height, as one of the films has it, and a file whose first frame is not at 0 s.
@pytest.mark.parametrize(("name", "height", "codec"), [("a.mp4", 46, "libx264"), ("a.mpg", 45, "mpeg2video")])
def test_an_excerpt_is_bit_for_bit(script: ModuleType, tmp_path: Path, name: str, height: int, codec: str) -> None:
    sources, clips = tmp_path / "sources", tmp_path / "clips"
    sources.mkdir()
    make_film(sources / name, height, codec)
    plan = tmp_path / "film.tsv"
    header = "name\tsplit\tsha256\tpackage\tmember\tlicence\tauthor\tcaption\tstart\tframes\n"
    line = f"{name}\tvalidation\t0\tp\tm\tCC0-1.0\t-\ta test\t0.4\t20\n"
    missing = "gone.mp4\tvalidation\t0\tp\tm\tCC0-1.0\t-\tnot there\t0\t9\n"
    plan.write_text(header + line + missing)
    assert script.main(plan, sources, clips) == 0
    records = [json.loads(text) for text in (clips / "metadata.jsonl").read_text().splitlines()]
    assert records == [{"file_name": "a.mkv", "caption": "a test", "split": "validation"}]
    whole, excerpt = read_frames(sources / name), read_frames(clips / "a.mkv")
    assert whole.shape == (50, height, 64, 3)
    np.testing.assert_array_equal(excerpt, whole[10:30])
