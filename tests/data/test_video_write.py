"""Written files read back against what was given; parts, refusals and dead encoders."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soracli.core.errors import MachineError, UsageError
from soracli.data import video_write
from soracli.data.video_header import read_comment
from soracli.data.video_read import probe_video, read_frames
from soracli.data.video_write import SUFFIXES, VideoWriter

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 100, 50)]
ROOT = Path(__file__).resolve().parents[2]


def solid(height: int, width: int) -> np.ndarray:
    return np.stack([np.full((height, width, 3), colour, np.uint8) for colour in COLOURS])


def noise(count: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (33, 65)])
@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".png"])
def test_solid_colours_come_back(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    frames = solid(*size)
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, fps=12, threads=1) as writer:
        for frame in frames:
            writer.write(frame[None])
    info = probe_video(path)
    assert (info.num_frames, info.height, info.width) == (len(frames), *size)
    # gif counts in hundredths of a second, webp in thousandths.
    assert info.fps == pytest.approx(12, rel=0.001 if suffix not in (".gif", ".webp") else 0.02)
    assert np.abs(read_frames(path, num_frames=len(frames), fps=12).astype(int) - frames).max() <= 3
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_moving_pictures_come_back(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:64, 0:96]
    frames = np.stack(
        [np.stack([columns * 2 + k, rows * 3, 255 - columns * 2], axis=-1).clip(0, 255) for k in range(20)]
    ).astype(np.uint8)
    for suffix in (".mp4", ".webm"):
        with VideoWriter(tmp_path / f"a{suffix}", fps=24, threads=1) as writer:
            writer.write(frames)
        error = np.square(read_frames(tmp_path / f"a{suffix}").astype(float) - frames).mean()
        assert 10 * np.log10(255**2 / error) > 38


def test_a_picture(tmp_path: Path) -> None:
    frame = noise(1)
    with VideoWriter(tmp_path / "a.png", fps=12, metadata={"prompt": "ü"}) as writer:
        writer.write(frame)
    assert np.array_equal(read_frames(tmp_path / "a.png"), frame)
    assert json.loads(Image.open(tmp_path / "a.png").text["comment"]) == {"prompt": "ü"}  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="--count"), VideoWriter(tmp_path / "b.png", fps=12) as writer:
        writer.write(noise(2))
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_metadata_comes_back(tmp_path: Path, suffix: str) -> None:
    metadata = {"prompt": 'a = "b"; #\\ü😀\nnew line', "seed": 7, "model": "ab" * 16, "version": "0.1.0"}
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, fps=12, metadata=metadata, threads=1) as writer:
        writer.write(noise(2, 16))
    assert json.loads(read_comment(path)) == metadata


def test_metadata_has_a_limit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="64 KiB"):
        VideoWriter(tmp_path / "a.mp4", fps=12, metadata={"prompt": "x" * 70_000})
    with VideoWriter(tmp_path / "a.mp4", fps=12, metadata={"prompt": "x" * 60_000}) as writer:
        writer.write(noise(1, 16))
    assert len(read_comment(tmp_path / "a.mp4")) > 60_000


def test_unknown_suffixes_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"try a\.webm"):
        VideoWriter(tmp_path / "a.wbm", fps=12)
    with pytest.raises(UsageError, match=r"try a\.mp4"):
        VideoWriter(tmp_path / "a", fps=12)
    with pytest.raises(UsageError, match="crf"):
        VideoWriter(tmp_path / "a.mp4", fps=12, crf=99)


@pytest.mark.row(68)
def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        VideoWriter(path, fps=12)
    with VideoWriter(path, fps=12, overwrite=True) as writer:
        writer.write(noise(1))
        assert path.read_text() == "mine"
    assert probe_video(path).num_frames == 1
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        VideoWriter(tmp_path / "folder.mp4", fps=12, overwrite=True)


def test_the_part_plays_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=12, threads=1) as writer:
        for _ in range(12):
            writer.write(noise(12, 128))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and writer.part.stat().st_size < 1_000_000:
            time.sleep(0.05)
        assert writer.part == tmp_path / "a.part.mp4"
        assert not path.exists()
        assert probe_video(writer.part, allow_damaged=True).num_frames >= 12
    assert not writer.part.exists()
    assert probe_video(path).num_frames == 144


@pytest.mark.row(68)
def test_an_error_keeps_the_part(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError, match="elsewhere"), VideoWriter(path, fps=12, threads=1) as writer:
        writer.write(noise(30))
        raise RuntimeError("elsewhere")
    assert not path.exists()
    assert probe_video(tmp_path / "a.part.mp4").num_frames == 30


@pytest.mark.row(68)
def test_a_kill_leaves_a_part_that_plays(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, numpy as np; from pathlib import Path\n"
        "from soracli.data.video_write import VideoWriter\n"
        "with VideoWriter(Path(sys.argv[1]), fps=12) as writer:\n"
        "    for _ in range(10): writer.write(np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "a.mp4"
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    part, deadline = tmp_path / "a.part.mp4", time.monotonic() + 20
    while time.monotonic() < deadline:
        size = part.stat().st_size
        time.sleep(0.3)
        if size and part.stat().st_size == size:
            break
    assert probe_video(part, allow_damaged=True).num_frames >= 100


def test_no_frames(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no frames"), VideoWriter(tmp_path / "a.mp4", fps=12):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_frames_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=12) as writer:
        writer.write(noise(1))
        with pytest.raises(ValueError, match=r"\(H, W\)"):
            writer.write(noise(1, 32))
        with pytest.raises(ValueError, match="uint8"):
            writer.write(noise(1).astype(np.float32))


def write_until_it_fails(writer: VideoWriter) -> str:
    with pytest.raises(MachineError) as caught, writer:
        for _ in range(400):
            writer.write(noise(12, 128))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_dead_encoder_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with pytest.raises(MachineError, match="the encoder stopped"), VideoWriter(path, fps=12, threads=1) as writer:
        writer.write(noise(12, 128))
        assert writer._process is not None
        os.kill(writer._process.pid, signal.SIGKILL)
        for _ in range(400):
            writer.write(noise(12, 128))
    assert not path.exists()
    assert (tmp_path / "a.part.mp4").exists()


@pytest.mark.row(69)
def test_an_encoder_that_cannot_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "ffmpeg"
    known = "[ $2 = -h ] && echo 'Encoder libx264 [H.264]:' && exit 0"
    stub.write_text(f"#!/bin/sh\n{known}\necho '[fatal] Unknown encoder libx264' >&2\nexit 8\n")
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(video_write, "ffmpeg_path", lambda: str(stub))
    assert "Unknown encoder libx264" in write_until_it_fails(VideoWriter(tmp_path / "a.mkv", fps=12))


@pytest.mark.row(68)
def test_the_file_size_limit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full disk looks like without being root: writing beyond the limit fails."""
    plain = subprocess.Popen

    def limited(command: list[str], **options: object) -> object:
        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        return plain(command, preexec_fn=limit, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(video_write.subprocess, "Popen", limited)
    text = write_until_it_fails(VideoWriter(tmp_path / "a.mkv", fps=12, threads=1))
    assert "File too large" in text
    assert (tmp_path / "a.part.mkv").stat().st_size > 0


@pytest.mark.row(68)
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        text = write_until_it_fails(VideoWriter(disk / "a.mp4", fps=12, threads=1))
        assert "the disk is full" in text
        assert (disk / "a.part.mp4").exists()
        assert not (disk / "a.mp4").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.row(68)
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot write"), VideoWriter(tmp_path / "file" / "a.mp4", fps=12):
        pass


def test_older_ffmpegs_write_plain_fragments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert video_write._fragments(video_write.ffmpeg_path()) == "hybrid_fragmented"
    monkeypatch.setattr(video_write, "_fragments", lambda program: "frag_keyframe+empty_moov+default_base_moof")
    with VideoWriter(tmp_path / "a.mp4", fps=12, threads=1, metadata={"seed": 1}) as writer:
        writer.write(noise(30))
    assert probe_video(tmp_path / "a.mp4").num_frames == 30
    assert read_comment(tmp_path / "a.mp4") == '{"seed": 1}'


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    script = (
        "import resource, sys, numpy as np; from pathlib import Path\n"
        "from soracli.data.video_write import VideoWriter\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "frames = np.zeros((24, 240, 320, 3), np.uint8)\n"
        "with VideoWriter(Path(sys.argv[1]), fps=24, threads=1) as writer:\n"
        "    writer.write(frames); before = peak()\n"
        "    for _ in range(50): writer.write(frames)\n"
        "assert peak() - before < 30, (before, peak())"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.mp4")], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("side", [64, 33])
def test_lossless_keeps_every_pixel(tmp_path: Path, side: int) -> None:
    frames = noise(7, side)
    with VideoWriter(tmp_path / "a.mkv", fps=12, lossless=True) as writer:
        writer.write(frames[:3])
        writer.write(frames[3:])
    np.testing.assert_array_equal(read_frames(tmp_path / "a.mkv"), frames)
    with pytest.raises(UsageError, match=r"only a \.mkv keeps every pixel: name .*a\.mkv"):
        VideoWriter(tmp_path / "a.mp4", fps=12, lossless=True)
