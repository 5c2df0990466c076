"""Files that lie, hang, leak, connect, point elsewhere or have hostile names: clips of a folder and of a manifest."""

from __future__ import annotations

import json
import os
import resource
import socket
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soracli.core.errors import DataError
from soracli.data import ffmpeg as ffmpeg_module
from soracli.data.manifest import path_in_manifest, read_manifest, write_manifest
from soracli.data.video_probe import probe_video
from soracli.data.video_read import read_frames
from soracli.pipelines.index_clips import IndexOptions, index_clips
from tests.data.media import ffmpeg, make_video

YUV = ("-pix_fmt", "yuv420p")
FLAGS = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path, format="PNG")
    return path


@pytest.mark.row(49)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ten.mp4", ("-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le")),
        ("full.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv444p")),
        ("odd.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-vf", "scale=65:49")),
    ],
)
def test_every_format_is_as_ffmpeg_itself_shows_it(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = make_video(tmp_path / name, "testsrc2=s=64x48:r=12:d=0.5", *options)
    ours = read_frames(path).astype(np.float64)
    raw = ffmpeg("-i", str(path), "-vf", FLAGS, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    theirs = np.frombuffer(raw, np.uint8).reshape(ours.shape)
    error = np.square(ours - theirs).mean()
    assert len(ours) == 6 and (error == 0 or 10 * np.log10(255**2 / error) > 40)


@pytest.mark.row(51)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_what_a_header_promises_is_not_allocated(tmp_path: Path, repository: Path) -> None:
    """Sizes patched into headers, ten hours of one frame, a thousand frames a second: a line, or read in its size."""
    whole = make_video(tmp_path / "a.mp4", "testsrc2=s=64x48:r=12:d=0.5", "-c:v", "mpeg4")
    content = whole.read_bytes()
    place = content.index(b"mp4v", content.index(b"stsd")) + 28  # width and height of the sample entry
    assert content[place : place + 4] == b"\0\x40\0\x30"
    (tmp_path / "b.mp4").write_bytes(content[:place] + b"\x3e\x80\x3e\x80" + content[place + 4 :])
    matroska = make_video(tmp_path / "c.mkv", "testsrc2=s=256x256:r=12:d=0.2", "-c:v", "ffv1").read_bytes()
    size = matroska.index(b"\xb0\x82\x01\x00\xba\x82\x01\x00")  # PixelWidth, PixelHeight, two bytes each
    huge = b"\xb0\x82\xff\xff\xba\x82\xff\xff"
    (tmp_path / "c.mkv").write_bytes(matroska[:size] + huge + matroska[size + 8 :])
    bomb = picture(tmp_path / "d.png").read_bytes()
    (tmp_path / "d.png").write_bytes(bomb[:16] + b"\0\0\xff\xff\0\0\xff\xff" + bomb[24:])
    long = "testsrc2=s=64x48:r=1:d=2,setpts='N*36000/TB'"
    make_video(tmp_path / "long.mkv", long, "-fps_mode", "vfr", "-c:v", "ffv1")
    make_video(tmp_path / "fast.mkv", "testsrc2=s=64x48:r=1000:d=0.2", "-c:v", "ffv1")
    script = (
        "import contextlib, resource, sys, torch; from pathlib import Path\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "idle = peak()\n"
        "from soracli.core.errors import DataError\n"
        "from soracli.data.video_read import probe_video, stream_frames\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        info = probe_video(path)\n"
        "        for _ in stream_frames(path, num_frames=min(info.num_frames, 300), fps=info.fps): pass\n"
        "    except DataError as error: print(path.name, error)\n"
        "    else: print(path.name, info.width, info.height, round(info.seconds, 2))\n"
        "children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "assert max(peak(), children) - idle < 300, (idle, peak(), children)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=repository, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert said["a.mp4"] == said["b.mp4"] == "64 48 0.5"  # what is in the stream counts, not what the container says
    refused = (
        "larger than the 67108864 pixels read here",
        "it has no video stream",
    )  # the second: by ffmpegs that drop the stream
    assert any(reason in said["c.mkv"] for reason in refused)
    assert "is larger than" in said["d.png"] or "damaged" in said["d.png"]
    assert said["fast.mkv"] == "64 48 0.2"
    assert said["long.mkv"].startswith("64 48 ")


@pytest.mark.row(52)
def test_pipes_devices_and_folders_named_as_clips_end_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for name in ("pipe.mp4", "b.txt", "metadata.jsonl"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "nothing.mp4").symlink_to("gone.mp4")
    reasons = {"pipe.mp4": "no ordinary file", "b.txt": "no ordinary file", "metadata.jsonl": "no ordinary file"}
    reasons |= {"loop.mp4": "a link to nothing", "nothing.mp4": "a link to nothing"}
    if os.geteuid() == 0:
        try:
            os.mknod(tmp_path / "zeros.mp4", stat.S_IFCHR | 0o600, os.makedev(1, 5))
            reasons["zeros.mp4"] = "no ordinary file"
        except OSError:
            pass
    begin = time.monotonic()
    summary = index_clips(tmp_path)
    assert time.monotonic() - begin < 5
    assert summary.num_clips == 1
    found = dict(summary.problems)
    assert found.keys() == reasons.keys()
    assert all(reason in found[name] for name, reason in reasons.items())


@pytest.mark.row(53)
def test_a_decoder_that_stops_in_the_middle_costs_one_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ffmpeg_module.ffmpeg_path()
    stub = tmp_path / "ffmpeg"
    stub.write_text(f'#!/bin/sh\ncase "$*" in *hang.mp4*) exec sleep 60;; esac\nexec "{real}" "$@"\n')
    stub.chmod(0o755)
    monkeypatch.setattr(ffmpeg_module, "ffmpeg_path", lambda: str(stub))
    clips = tmp_path / "clips"
    clips.mkdir()
    make_video(clips / "a.mp4", "testsrc2=s=32x32:r=12:d=0.5", *YUV)
    (clips / "hang.mp4").write_bytes((clips / "a.mp4").read_bytes() + b"\0")
    begin = time.monotonic()
    summary = index_clips(clips, options=IndexOptions(timeout=2))
    assert time.monotonic() - begin < 30
    assert summary.num_clips == 1
    assert dict(summary.problems) == {"hang.mp4": "the decoder gave nothing for 2 s and was stopped"}


@pytest.mark.row(53)
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the system cannot limit another process")
def test_a_decoder_has_a_limit_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "ffmpeg"
    stub.write_text('#!/bin/sh\nsleep 0.3\nulimit -v >&2\necho "[error] $(ulimit -v)" >&2\nexit 1\n')
    stub.chmod(0o755)
    monkeypatch.setattr(ffmpeg_module, "ffmpeg_path", lambda: str(stub))
    (tmp_path / "a.mp4").write_bytes(b"not looked at")
    with pytest.raises(DataError, match=str(ffmpeg_module.MAX_MEMORY // 1024)):
        probe_video(tmp_path / "a.mp4")


def resident() -> float:
    """Memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.row(53)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("count", [24, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_clip_leaves_memory_processes_or_files_behind(tmp_path: Path, count: int) -> None:
    good = make_video(tmp_path / "a.mp4", "testsrc2=s=32x32:r=12:d=0.5", *YUV)
    bad = tmp_path / "b.mp4"
    bad.write_bytes(good.read_bytes()[:700])
    before, handles = 0.0, 0
    for number in range(count):
        if number == min(count // 3, 200):
            before, handles = resident(), len(os.listdir("/proc/self/fd"))
        read_frames(good, num_frames=6, fps=12)
        with pytest.raises(DataError):
            probe_video(bad)
    assert len(os.listdir("/proc/self/fd")) == handles
    assert resident() - before < 1 + count / 100
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.row(54)
@pytest.mark.parametrize("name", ["‮4pm.exe.mp4", "caf\udce9.mp4", "concat:a|b", "-i", "pipe:0", "a\nb", "https:a"])
def test_a_name_is_a_name_for_reading_and_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        make_video(Path("plain.mp4"), "testsrc2=s=64x48:r=12:d=0.5", *YUV).rename(name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert probe_video(Path(name)).num_frames == 6
    assert len(read_frames(Path(name))) == 6
    assert os.listdir(tmp_path) == [name]


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{url}/a.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>{url}/</BaseURL>'
    '<Period><AdaptationSet><Representation id="1"><BaseURL>a.mp4</BaseURL></Representation></AdaptationSet></Period>'
    "</MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
    "asx": '<asx version="3.0"><entry><ref href="{url}/a.mp4"/></entry></asx>',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><image href="{url}/a.png"/></svg>',
}


@pytest.mark.row(55)
def test_no_file_opens_a_connection_or_another_file(tmp_path: Path) -> None:
    """Every kind of list under every suffix, and addresses in a manifest, with a listener that counts."""
    secret = make_video(tmp_path / "secret.mp4", "testsrc2=s=64x48:r=12:d=0.5", *YUV)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        clips = tmp_path / "clips"
        picture(clips / "a.png")
        for kind, text in PLAYLISTS.items():
            for suffix in (".mp4", ".ts"):
                for place, url in (("net", f"http://127.0.0.1:{port}"), ("file", f"file:{secret.parent}")):
                    text = text.replace("a.mp4", "secret.mp4")
                    (clips / f"{kind}-{place}{suffix}").write_text(text.format(url=url, port=port))
        summary = index_clips(clips)
        assert summary.num_clips == 1
        assert len(summary.problems) == 4 * len(PLAYLISTS)
        manifest = read_manifest(summary.manifest)
        for path in (f"http://127.0.0.1:{port}/a.mp4", f"tcp://127.0.0.1:{port}", "concat:a.png|a.png", "data:,x"):
            write_manifest(summary.manifest, [replace(manifest.clips[0], path=path)], {})
            clip = read_manifest(summary.manifest).clips[0]
            with pytest.raises(DataError, match="no such file"):
                read_frames(manifest.locate(clip), num_frames=1, fps=1)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.row(57)
def test_a_manifest_reaches_outside_only_when_it_says_so(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    picture(outside / "b.png")
    picture(inside / "a.png")
    index_clips(inside)
    (inside / "there").symlink_to(outside)
    (inside / "b.png").symlink_to(outside / "b.png")
    (clip,) = read_manifest(inside / "clips.jsonl").clips
    for path in ("there/b.png", "b.png"):
        write_manifest(inside / "clips.jsonl", [replace(clip, path=path)], {})
        manifest = read_manifest(inside / "clips.jsonl")
        with pytest.raises(DataError, match="out of the manifest's folder; name it absolutely"):
            manifest.locate(manifest.clips[0])
        assert path_in_manifest(inside / path, inside) == str(inside / path)
    write_manifest(inside / "clips.jsonl", [replace(clip, path=str(outside / "b.png"))], {})
    manifest = read_manifest(inside / "clips.jsonl")
    assert manifest.locate(manifest.clips[0]) == outside / "b.png"
    # A folder that is itself a link is a folder.
    (tmp_path / "link").symlink_to(inside)
    write_manifest(inside / "clips.jsonl", [clip], {})
    linked = read_manifest(tmp_path / "link" / "clips.jsonl")
    assert linked.locate(clip).is_file()


@pytest.mark.row(57)
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("fps", 10**400, "must be a finite number"),
        ("num_frames", 10**400, "at most"),
        ("width", 2**40, "at most"),
        ("start", 1e300, "at most"),
        ("path", "\ud800.mp4", "half of a surrogate pair"),
    ],
)
def test_numbers_and_texts_of_a_manifest_that_cannot_be(tmp_path: Path, name: str, value: object, says: str) -> None:
    picture(tmp_path / "a.png")
    index_clips(tmp_path)
    path = tmp_path / "clips.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), name: value})
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"^{path}:2: '{name}'.*{says}") as caught:
        read_manifest(path)
    assert caught.value.exit_code == 3
