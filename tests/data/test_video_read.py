"""Decoded frames against ffmpeg's own plain decode, excerpts against the whole, colours by closed form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from soracli.core.errors import DataError
from soracli.data.video_info import FRAME_SLACK
from soracli.data.video_read import probe_video, read_frames, stream_frames
from tests.data.media import cut_file, ffmpeg, make_video

YUV = ("-pix_fmt", "yuv420p")
FLAGS = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


def plain_decode(path: Path, height: int, width: int) -> np.ndarray:
    """All frames as ffmpeg decodes them when nobody asks for a rate."""
    raw = ffmpeg("-i", str(path), "-vf", FLAGS, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    source = "testsrc2=s=64x48:r=24:d=3"
    held = "testsrc2=s=64x48:r=24:d=2,setpts='(N+floor(N/10)*3)/24/TB'"
    return {
        "mp4": make_video(folder / "a.mp4", source, "-g", "20", *YUV),
        "mkv": make_video(folder / "a.mkv", source, *YUV),
        "ts": make_video(folder / "a.ts", source, *YUV),
        "avi": make_video(folder / "a.avi", source),
        "webm": make_video(folder / "a.webm", source, "-c:v", "libvpx", "-auto-alt-ref", "1", *YUV),
        "vfr": make_video(folder / "vfr.mp4", held, "-fps_mode", "vfr", *YUV),
    }


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi", "webm"])
def test_native_reading_gives_every_frame_once(videos: dict[str, Path], kind: str) -> None:
    theirs = plain_decode(videos[kind], 48, 64)
    ours = read_frames(videos[kind])
    assert len(theirs) == 72
    assert np.array_equal(ours, theirs)


@pytest.mark.row(50)
@pytest.mark.parametrize("fps", [8, 12, 25, 30000 / 1001])
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_another_rate_shows_the_frame_of_the_moment(videos: dict[str, Path], kind: str, fps: float) -> None:
    theirs = plain_decode(videos[kind], 48, 64)
    ours = read_frames(videos[kind], fps=fps)
    assert len(ours) == probe_video(videos[kind]).num_frames_at(fps) == int(-(-(3 * fps - FRAME_SLACK) // 1))
    # mkv keeps milliseconds, so its limit is not sharper than one.
    shown = [max(j for j in range(72) if round(j / 24, 3) <= (k + FRAME_SLACK) / fps) for k in range(len(ours))]
    assert np.array_equal(ours, theirs[shown])


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_excerpt_is_a_part_of_the_whole(videos: dict[str, Path], data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(videos)))
    fps = data.draw(st.sampled_from([None, 12, 25, 30]))
    whole = read_frames(videos[kind], fps=fps)
    rate = fps or probe_video(videos[kind]).fps
    first = data.draw(st.integers(0, len(whole) - 1))
    count = data.draw(st.integers(1, len(whole) - first))
    part = read_frames(videos[kind], start=first / rate, num_frames=count, fps=rate)
    assert np.array_equal(part, whole[first : first + count])


@pytest.mark.row(50)
def test_variable_rate_keeps_time(videos: dict[str, Path]) -> None:
    theirs = plain_decode(videos["vfr"], 48, 64)
    ours = read_frames(videos["vfr"])
    moments = [n + n // 10 * 3 for n in range(48)]
    shown = [max(n for n in range(48) if moments[n] <= k) for k in range(60)]
    assert np.array_equal(ours, theirs[shown])


def test_a_stream_is_the_whole_in_chunks(videos: dict[str, Path]) -> None:
    chunks = list(stream_frames(videos["mp4"], chunk_frames=10))
    assert [len(chunk) for chunk in chunks] == [10] * 7 + [2]
    assert np.array_equal(np.concatenate(chunks), read_frames(videos["mp4"]))


def test_a_stream_left_early_leaves_no_process(videos: dict[str, Path]) -> None:
    frames = stream_frames(videos["mp4"], num_frames=72, fps=24, chunk_frames=1)
    next(frames)
    frames.close()
    children = Path("/proc/self/task")
    if children.exists():
        running = [(task / "children").read_text() for task in children.iterdir() if (task / "children").exists()]
        assert not any(running)


def test_asking_for_too_much(videos: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="gave 12 of the 20 frames"):
        read_frames(videos["mp4"], start=2.5, num_frames=20, fps=24)
    with pytest.raises(DataError, match="cannot start at 9 s"):
        read_frames(videos["mp4"], start=9)
    with pytest.raises(DataError, match="does not exist"):
        read_frames(videos["mp4"], start=-1)
    with pytest.raises(DataError, match="gave 0"):
        read_frames(videos["mp4"], start=9, num_frames=2, fps=24)


@pytest.mark.row(51)
def test_memory_has_a_cap(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soracli.data.video_read.MAX_READ_BYTES", 72 * 64 * 48 * 3 - 1)
    with pytest.raises(DataError, match="shorter excerpt"):
        read_frames(videos["mp4"])


@pytest.mark.row(48)
def test_a_cut_file_gives_its_part_only_if_allowed(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mkv", "testsrc2=s=160x120:r=24:d=3", "-c:v", "ffv1", "-g", "1")
    cut = cut_file(whole, tmp_path / "cut.mkv")
    with pytest.raises(DataError, match="cut off or damaged"):
        read_frames(cut)
    with pytest.raises(DataError, match="of the 72 frames"):
        read_frames(cut, num_frames=72, fps=24)
    part = read_frames(cut, allow_damaged=True)
    assert 20 < len(part) < 50
    # The last frame of a cut file is itself cut.
    assert np.array_equal(part[:-2], read_frames(whole)[: len(part) - 2])


COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 100, 50)]


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le"])
def test_colours_are_those_of_the_tagged_matrix(tmp_path: Path, matrix: str, pixels: str) -> None:
    named = {"smpte170m": "bt601", "bt2020nc": "bt2020"}.get(matrix, matrix)
    frames = np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in COLOURS])
    path = tmp_path / "a.mkv"
    ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "32x32", "-framerate", "4", "-i", "-"),
        *("-vf", f"scale=out_color_matrix={named}:out_range=tv,format={pixels}"),
        *("-colorspace", matrix, "-color_range", "tv", "-c:v", "ffv1", str(path)),
        content=frames.tobytes(),
    )
    assert np.abs(read_frames(path).astype(int) - frames).max() <= 2


def test_small_untagged_video_is_bt601_and_large_bt709(tmp_path: Path) -> None:
    for size, matrix in (("64x48", "bt601"), ("64x720", "bt709")):
        path = make_video(
            tmp_path / f"{matrix}.mkv",
            f"color=c=0x14b4dc:s={size}:r=2:d=1,format=gbrp",
            *("-vf", f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p", "-c:v", "mpeg4", "-q:v", "1"),
        )
        assert np.abs(read_frames(path).astype(int) - (0x14, 0xB4, 0xDC)).max() <= 3


@pytest.mark.row(49)
def test_rotation_and_square_pixels(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "a.mkv", "testsrc2=s=64x48:r=12:d=0.5", "-c:v", "libx264", *YUV)
    turned, wide = tmp_path / "turned.mp4", tmp_path / "wide.mp4"
    ffmpeg("-display_rotation", "90", "-i", str(plain), "-c", "copy", str(turned))
    # The flag turns the picture anticlockwise.
    assert np.abs(read_frames(turned).astype(int) - np.rot90(read_frames(plain), 1, (1, 2))).mean() < 1
    ffmpeg("-i", str(plain), "-vf", "setsar=3/2", *YUV, str(wide))
    assert read_frames(wide).shape == (6, 48, 96, 3)


@pytest.mark.row(49)
def test_interlaced_frames_lose_their_combs(tmp_path: Path) -> None:
    moving = "color=black:s=64x64:r=50:d=1,drawbox=x=10:w=20:h=64:c=white:t=fill,scroll=h=0.05,interlace"
    path = make_video(tmp_path / "a.mpg", moving, "-c:v", "mpeg2video", "-q:v", "1", "-flags", "+ildct+ilme")
    frames = read_frames(path).astype(int)
    comb = np.abs(frames[5:15, 2:-2:2] - frames[5:15, 3:-1:2]).mean()
    raw = plain_decode(path, 64, 64).astype(int)
    assert comb < 0.5 * np.abs(raw[5:15, 2:-2:2] - raw[5:15, 3:-1:2]).mean()


@pytest.mark.row(49)
@pytest.mark.parametrize("name", ["a.webm", "a.mov"])
def test_alpha_over_a_colour_or_as_rgba(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": ("libvpx-vp9", "yuva420p"), "a.mov": ("qtrle", "argb")}[name]
    half = "color=c=red:s=64x64:r=4:d=1,format=rgba,geq=r=255:g=0:b=0:a='if(lt(X,32),255,0)'"
    path = make_video(tmp_path / name, half, "-c:v", codec[0], "-pix_fmt", codec[1])
    assert probe_video(path).has_alpha
    over = read_frames(path, background=(0, 0, 255)).astype(int)
    assert np.abs(over[:, :, :28] - (255, 0, 0)).max() <= 3
    assert np.abs(over[:, :, 36:] - (0, 0, 255)).max() <= 3
    rgba = read_frames(path, background=None, size=(32, 32)).astype(int)
    assert rgba.shape == (4, 32, 32, 4)
    assert np.abs(rgba[:, :, :14] - (255, 0, 0, 255)).max() <= 3
    assert rgba[:, :, 18:, 3].max() == 0


@pytest.mark.row(49)
def test_grey_ten_bit_and_odd_sizes(tmp_path: Path) -> None:
    grey = make_video(tmp_path / "g.mkv", "testsrc2=s=33x21:r=4:d=1,format=gray", "-c:v", "ffv1")
    frames = read_frames(grey)
    assert frames.shape == (4, 21, 33, 3)
    assert np.abs(np.diff(frames.astype(int), axis=3)).max() == 0
    deep = make_video(tmp_path / "d.mkv", "testsrc2=s=33x21:r=4:d=1", "-c:v", "ffv1", "-pix_fmt", "yuv444p10le")
    flat = make_video(tmp_path / "f.mkv", "testsrc2=s=33x21:r=4:d=1", "-c:v", "ffv1", "-pix_fmt", "yuv444p")
    assert np.abs(read_frames(deep).astype(int) - read_frames(flat)).max() <= 3


def test_fits(tmp_path: Path) -> None:
    # Left half red, right half blue; a crop to a square keeps the middle.
    source = "color=c=red:s=80x40:r=2:d=1,drawbox=x=40:w=40:h=40:c=blue:t=fill"
    path = make_video(tmp_path / "a.mkv", source, "-c:v", "ffv1", "-pix_fmt", "gbrp")
    crop = read_frames(path, size=(20, 20)).astype(int)
    assert crop.shape == (2, 20, 20, 3)
    assert np.abs(crop[:, :, 2] - (255, 0, 0)).max() <= 3
    assert np.abs(crop[:, :, 17] - (0, 0, 255)).max() <= 3
    pad = read_frames(path, size=(40, 40), fit="pad", background=(0, 255, 0)).astype(int)
    assert np.array_equal(np.unique(pad[:, :8].reshape(-1, 3), axis=0), [[0, 255, 0]])
    assert np.abs(pad[:, 20, 5] - (255, 0, 0)).max() <= 3
    stretch = read_frames(path, size=(30, 20), fit="stretch")
    assert stretch.shape == (2, 30, 20, 3)
    clear = read_frames(path, size=(40, 40), fit="pad", background=None)
    assert clear[:, 0, :, 3].max() == 0
    assert clear[:, 20, :, 3].min() == 255


def test_pictures_and_videos_are_fitted_alike(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", "testsrc2=s=90x50:r=1:d=1", "-c:v", "ffv1", "-pix_fmt", "gbrp")
    picture = tmp_path / "a.png"
    Image.fromarray(read_frames(video)[0]).save(picture)
    for size, fit in (((20, 64), "crop"), ((64, 64), "pad"), ((30, 30), "stretch"), (None, "crop")):
        one = read_frames(video, size=size, fit=fit, background=(9, 99, 199)).astype(int)
        two = read_frames(picture, size=size, fit=fit, background=(9, 99, 199)).astype(int)
        assert one.shape == two.shape
        assert np.abs(one - two).mean() < 4


@pytest.mark.row(51)
def test_a_long_video_streams_in_constant_memory(tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.mkv", "color=gray:s=320x240:r=30:d=20", "-c:v", "mpeg4")
    script = (
        "import resource, sys; from pathlib import Path; from soracli.data.video_read import stream_frames\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "frames = stream_frames(Path(sys.argv[1]), num_frames=600, fps=30)\n"
        "next(frames); before = peak(); count = 16 + sum(len(chunk) for chunk in frames)\n"
        "assert count == 600; assert peak() - before < 40, (before, peak())"
    )
    # All of it would be 130 MiB.
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, cwd=root, timeout=60)
