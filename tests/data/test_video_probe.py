"""Counted frames, rates and sizes against what ffmpeg was told to make; every broken file by its one line."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest

from soracli.core.errors import DataError, MachineError
from soracli.data import ffmpeg as ffmpeg_module
from soracli.data.video_probe import probe_video
from tests.data.media import cut_file, ffmpeg, make_video

YUV = ("-pix_fmt", "yuv420p")


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        probe_video(path, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize(
    ("name", "rate", "seconds", "options"),
    [
        ("a.mp4", "24", 1.5, YUV),
        ("ntsc.mp4", "30000/1001", 2, YUV),
        ("a.mkv", "25", 1.2, YUV),
        ("a.ts", "24", 2, YUV),
        ("a.avi", "12", 2, ()),
        ("vp8.webm", "24", 2, ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", *YUV)),
        ("vp9.webm", "12", 1, ("-c:v", "libvpx-vp9", *YUV)),
        ("hevc.mov", "30", 1, ("-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le")),
        ("ffv1.mkv", "10", 1, ("-c:v", "ffv1", "-pix_fmt", "gray")),
    ],
)
def test_counts_are_exact(tmp_path: Path, name: str, rate: str, seconds: float, options: tuple[str, ...]) -> None:
    path = make_video(tmp_path / name, f"testsrc2=s=64x48:r={rate}:d={seconds}", *options)
    top, _, bottom = rate.partition("/")
    fps = int(top) / int(bottom or 1)
    for verify in (True, False):
        info = probe_video(path, verify=verify)
        assert info.fps == pytest.approx(fps, abs=1e-9)
        # testsrc2 gives every frame that begins before d.
        assert info.num_frames == int(-(-seconds * fps // 1))
        assert (info.height, info.width, info.kind, info.variable) == (48, 64, "video", False)
        assert info.seconds == pytest.approx(info.num_frames / info.fps)


@pytest.mark.row(50)
def test_variable_rate_becomes_constant(tmp_path: Path) -> None:
    held = "testsrc2=s=64x48:r=24:d=2,setpts='(N+floor(N/10)*3)/24/TB'"
    path = make_video(tmp_path / "vfr.mp4", held, "-fps_mode", "vfr", *YUV)
    info = probe_video(path)
    assert info.variable
    assert info.fps == 24
    # 48 frames with 4 pauses of 3 frames.
    assert info.num_frames == 60
    assert probe_video(path, verify=False) == info


@pytest.mark.row(49)
def test_shown_size_is_upright_with_square_pixels(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mp4", "testsrc2=s=64x48:r=12:d=0.5", *YUV)
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", str(plain), "-c", "copy", str(turned))
    assert (probe_video(turned).height, probe_video(turned).width) == (64, 48)
    wide = make_video(tmp_path / "wide.mp4", "testsrc2=s=64x48:r=12:d=0.5,setsar=3/2", *YUV)
    assert (probe_video(wide).height, probe_video(wide).width) == (48, 96)


@pytest.mark.row(49)
def test_one_frame_and_odd_size(tmp_path: Path) -> None:
    path = make_video(tmp_path / "one.mp4", "testsrc=s=65x49:r=24", "-frames:v", "1", "-pix_fmt", "yuv444p")
    info = probe_video(path)
    assert (info.num_frames, info.height, info.width, info.fps) == (1, 49, 65, 24)


def test_longer_sound_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=1", "-f", "lavfi", "-i", "sine=d=3", *YUV),
        str(path),
    )
    assert probe_video(path).num_frames == 24


@pytest.mark.row(47, 52)
def test_missing_empty_directory_pipe_and_socket(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refusal(tmp_path / "empty.mp4")
    (tmp_path / "folder.mp4").mkdir()
    assert "directory" in refusal(tmp_path / "folder.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "no ordinary file" in refusal(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to("link.mp4")
    assert "symbolic links" in refusal(tmp_path / "link.mp4")
    refusal(tmp_path / ("x" * 300 + ".mp4"))


@pytest.mark.row(47, 55)
def test_text_sound_cover_and_playlists(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    assert "it is no video" in refusal(tmp_path / "text.mp4")
    (tmp_path / "text.mkv").write_text("this is no video\n" * 100)
    assert "nothing that ffmpeg knows" in refusal(tmp_path / "text.mkv")
    sound = tmp_path / "sound.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", str(sound))
    assert "no video stream" in refusal(sound)
    real = make_video(tmp_path / "real.mp4", "testsrc2=s=64x48:r=12:d=0.5", *YUV)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {real.name}\n")
    refusal(tmp_path / "list.mp4")
    (tmp_path / "hls.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{real.name}\n#EXT-X-ENDLIST\n")
    refusal(tmp_path / "hls.mp4")


@pytest.mark.row(55)
def test_a_playlist_opens_no_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        for name, text in (
            (
                "hls.mp4",
                f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
            ),
            ("list.mp4", f"ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/a.mp4'\n"),
        ):
            (tmp_path / name).write_text(text)
            refusal(tmp_path / name)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.row(48)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ("-movflags", "+faststart", *YUV)),
        ("a.mkv", YUV),
        ("a.webm", ("-c:v", "libvpx", *YUV)),
        ("a.avi", ()),
        ("a.ts", ("-threads", "2")),  # as many slices everywhere: a cut between two of them cannot be told
    ],
)
def test_a_cut_file_is_told_and_its_part_kept_only_if_allowed(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    whole = make_video(tmp_path / name, "testsrc2=s=160x120:r=24:d=3", "-g", "12", *options)
    cut = cut_file(whole, tmp_path / f"cut_{name}")
    assert "frames can be decoded" in refusal(cut)
    if name != "a.ts":  # a transport stream promises no length: only decoding shows that it is cut
        assert "frames can be decoded" in refusal(cut, verify=False)
    info = probe_video(cut, allow_damaged=True)
    assert info.damage
    assert 10 < info.num_frames < 60


@pytest.mark.row(47)
def test_cut_without_its_index(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4", "testsrc2=s=160x120:r=24:d=2", *YUV)
    cut = cut_file(whole, tmp_path / "cut.mp4", 0.7)
    assert "moov" in refusal(cut)
    refusal(cut, allow_damaged=True)


@pytest.mark.row(48)
def test_wrong_bytes_inside_are_found(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", "testsrc2=s=160x120:r=24:d=2", "-movflags", "+faststart", *YUV)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = os.urandom(2000)
    path.write_bytes(content)
    assert "damaged" in refusal(path)


@pytest.mark.row(47)
def test_zero_frames(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=1", "-frames:v", "0", *YUV, str(path))
    refusal(path)


@pytest.mark.row(53)
def test_a_hanging_decoder_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "ffmpeg"
    stub.write_text("#!/bin/sh\nexec sleep 60\n")
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(ffmpeg_module, "ffmpeg_path", lambda: str(stub))
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not looked at")
    begin = time.monotonic()
    assert "gave nothing for 0.3 s" in refusal(path, timeout=0.3)
    assert time.monotonic() - begin < 5


@pytest.mark.row(69)
def test_ffmpeg_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg_module, "ffmpeg_path", lambda: str(tmp_path / "gone"))
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not looked at")
    with pytest.raises(MachineError, match="does not start"):
        probe_video(path)


@pytest.mark.row(54)
@pytest.mark.parametrize("name", ["-i.mp4", "a b;c'd\".mp4", "x\ny.mp4", "%03d.mp4", "concat:a|b.mp4", "😀ü.mp4"])
def test_names_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain = make_video(tmp_path / "plain.mp4", "testsrc2=s=64x48:r=12:d=0.5", *YUV)
    monkeypatch.chdir(tmp_path)
    plain.rename(tmp_path / name)
    assert probe_video(Path(name)).num_frames == 6


@pytest.mark.row(51)
def test_too_large_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", "testsrc2=s=64x48:r=12:d=0.5", *YUV)
    monkeypatch.setattr("soracli.data.video_probe.MAX_PIXELS", 64 * 48 - 1)
    assert "larger than" in refusal(path)


@pytest.mark.row(51)
def test_too_many_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = "testsrc2=s=64x48:r=24:d=1,setpts='(N+eq(N,23)*100000)/24/TB'"
    path = make_video(tmp_path / "jump.mkv", held, "-fps_mode", "vfr", "-c:v", "ffv1")
    monkeypatch.setattr("soracli.data.video_probe.MAX_FRAMES", 50_000)
    assert "time stamps" in refusal(path)
