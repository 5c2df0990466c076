"""Pictures and animations made by Pillow: frames against what was put in, times by hand, broken ones refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soracli.core.errors import DataError
from soracli.data.image_read import probe_picture
from soracli.data.video_read import probe_video, read_frames, stream_frames
from tests.data.media import cut_file

LEVELS = [10, 60, 110, 160, 210]


def save_animation(path: Path, durations: list[int], size: tuple[int, int] = (40, 30)) -> Path:
    frames = [Image.new("RGB", size, (level, level, level)) for level in LEVELS[: len(durations)]]
    options = {".webp": {"lossless": True}, ".gif": {"disposal": 2}, ".png": {}}[path.suffix]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return path


def levels(frames: np.ndarray) -> list[int]:
    """The grey of each frame; frames are of one colour."""
    assert np.ptp(frames.reshape(len(frames), -1), axis=1).max() == 0
    return [int(frame[0, 0, 0]) for frame in frames]


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_an_animation_gives_its_frames(tmp_path: Path, suffix: str) -> None:
    path = save_animation(tmp_path / f"a{suffix}", [80] * 5)
    info = probe_video(path)
    assert (info.num_frames, info.fps, info.kind, info.variable) == (5, 12.5, "animation", False)
    assert (info.height, info.width) == (30, 40)
    assert levels(read_frames(path)) == LEVELS


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_durations_are_respected(tmp_path: Path, suffix: str) -> None:
    path = save_animation(tmp_path / f"a{suffix}", [100, 100, 300, 100, 200])
    info = probe_video(path)
    assert (info.num_frames, info.fps, info.variable) == (8, 10, True)
    assert levels(read_frames(path)) == [10, 60, 110, 110, 110, 160, 210, 210]
    # At 5 fps: the frames on show at 0, 0.2, 0.4 and 0.6 s.
    assert levels(read_frames(path, fps=5)) == [10, 110, 110, 210]
    assert levels(read_frames(path, start=0.3, num_frames=3, fps=10)) == [110, 110, 160]
    assert [len(chunk) for chunk in stream_frames(path, chunk_frames=3)] == [3, 3, 2]


def test_short_durations_are_those_of_browsers(tmp_path: Path) -> None:
    path = save_animation(tmp_path / "a.gif", [10, 10, 10])
    assert probe_video(path).fps == 10


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".jpg"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_is_one_frame(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new(mode, (33, 21), 128 if mode == "L" else (200, 100, 50)).save(path)
    info = probe_video(path)
    assert (info.num_frames, info.fps, info.seconds, info.kind) == (1, 1.0, 1.0, "image")
    frames = read_frames(path)
    assert frames.shape == (1, 21, 33, 3)
    assert np.abs(frames.astype(int) - ((128,) * 3 if mode == "L" else (200, 100, 50))).max() <= 3


@pytest.mark.row(49)
def test_the_content_says_the_kind_not_the_name(tmp_path: Path) -> None:
    path = save_animation(tmp_path / "a.webp", [80] * 5)
    assert probe_video(path.rename(tmp_path / "a.mp4")).kind == "animation"


def test_alpha(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(path, lossless=True)
    assert probe_video(path).has_alpha
    assert np.abs(read_frames(path, background=(0, 0, 255)).astype(int) - (128, 0, 127)).max() <= 1
    assert np.array_equal(read_frames(path, background=None)[0, 0, 0], (255, 0, 0, 128))
    opaque = tmp_path / "b.png"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(opaque)
    assert read_frames(opaque, background=None)[..., 3].min() == 255


def test_transparent_palettes(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    clear = Image.new("P", (8, 8), 0)
    clear.putpalette([0, 0, 0, 255, 255, 255])
    clear.save(path, transparency=0)
    assert np.array_equal(np.unique(read_frames(path, background=(9, 8, 7)).reshape(-1, 3), axis=0), [[9, 8, 7]])


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4), 32896, np.uint16)).save(path)
    assert np.abs(read_frames(path).astype(int) - 128).max() <= 1


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", (40, 20)).save(path, exif=tags)
    info = probe_video(path)
    assert (info.height, info.width) == (40, 20)
    assert read_frames(path).shape == (1, 40, 20, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif"])
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_cut_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    cut = cut_file(tmp_path / name, tmp_path / f"cut_{name}", share)
    with pytest.raises(DataError, match="is damaged") as caught:
        probe_video(cut)
    assert "\n" not in str(caught.value)


def test_a_cut_animation_is_refused(tmp_path: Path) -> None:
    for suffix in (".webp", ".gif"):
        noise = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), dtype=np.uint8)
        frames = [Image.fromarray(frame) for frame in noise]
        whole = tmp_path / f"a{suffix}"
        frames[0].save(whole, save_all=True, append_images=frames[1:], duration=80)
        with pytest.raises(DataError, match="is damaged"):
            probe_video(cut_file(whole, tmp_path / f"cut{suffix}"))


@pytest.mark.row(51)
def test_a_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(DataError, match="larger than"):
        probe_picture(path)


def test_asking_for_too_much(tmp_path: Path) -> None:
    path = save_animation(tmp_path / "a.webp", [80] * 5)
    with pytest.raises(DataError, match="gave 5 of the 9 frames"):
        read_frames(path, num_frames=9, fps=12.5)


@pytest.mark.row(51)
def test_a_webp_has_a_cap_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    Image.new("RGB", (4096, 3073)).save(path, lossless=True, quality=0, method=0)
    with pytest.raises(DataError, match="4096x3073 is larger than the 12582912 pixels read here"):
        probe_picture(path)
