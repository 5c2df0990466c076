"""Header texts of several ffmpeg versions, as they were logged, against the facts in them."""

from __future__ import annotations

import pytest

from soracli.data.video_header import parse_header, parse_metadata

NEW = """Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:rot.mp4':
  Metadata:
    comment         : a
                    : Stream #0:0: Video: mpeg4, yuv420p, 9x9, 1 fps
  Duration: 00:01:02.50, start: 0.000000, bitrate: 330 kb/s
  Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709/unknown/unknown, progressive), \
320x240 [SAR 4:3 DAR 16:9], 320 kb/s, 29.97 fps, 29.97 tbr, 30k tbn (default)
    Side data:
      Display Matrix: rotation of 90.00 degrees
Output #0, framecrc, to 'pipe:':
  Stream #0:0: Video: rawvideo, rgb24, 1x1
""".splitlines()


def test_a_new_header() -> None:
    header = parse_header(NEW)
    assert header is not None
    assert (header.codec, header.matrix, header.fps) == ("h264", "bt709", 29.97)
    # 427 wide by its pixels' shape, then turned.
    assert (header.height, header.width, header.reshaped) == (427, 240, True)
    assert header.promised_seconds == 62.5


def test_an_older_header() -> None:
    lines = [
        "Input #0, mpegts, from 'a.ts':",
        "  Duration: 00:00:04.00, start: 1.441667, bitrate: 430 kb/s",
        "  Stream #0:0[0x100]: Video: mpeg2video (Main) ([2][0][0][0] / 0x0002), yuv420p(tv, top first), 720x576 "
        "[SAR 1:1 DAR 5:4], 25 fps, 25 tbr, 90k tbn",
        "    Side data:",
        "      displaymatrix: rotation of -90.00 degrees",
    ]
    header = parse_header(lines)
    assert header is not None
    assert (header.height, header.width, header.start, header.interlaced) == (720, 576, 1.441667, True)


def test_alpha_beside_the_picture() -> None:
    lines = [
        "Input #0, matroska,webm, from 'a.webm':",
        "  Duration: 00:00:01.00, start: 0.000000, bitrate: 322 kb/s",
        "  Stream #0:0: Audio: opus, 48000 Hz, stereo, fltp",
        "    Metadata:",
        "      alpha_mode      : 1",
        "  Stream #0:1: Video: vp9 (Profile 0), yuv420p(tv, progressive), 320x240, SAR 1:1 DAR 4:3, 24 fps, 1k tbn",
        "    Metadata:",
        "      alpha_mode      : 1",
        "      DURATION        : 00:00:00.900000000",
    ]
    header = parse_header(lines)
    assert header is not None
    assert (header.has_alpha, header.decoder, header.promised_seconds) == (True, "libvpx-vp9", 0.9)
    assert header.matrix == "smpte170m"


@pytest.mark.parametrize(
    "stream",
    [
        "Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)",
        "Video: mjpeg (Baseline), yuvj420p(pc, bt470bg/unknown/unknown), 64x64 [SAR 1:1 DAR 1:1] (attached pic)",
        "Video: none (XXXX / 0x58585858), none, 24 fps",
    ],
)
def test_no_video(stream: str) -> None:
    assert parse_header(["Input #0, mov, from 'a':", f"  Stream #0:0: {stream}"]) is None


def test_metadata_escapes() -> None:
    text = ";FFMETADATA1\nmajor_brand=isom\ncomment=a\\=b\\;\\#\\\\c\\\nd\n[STREAM]\ncomment=other\n"
    assert parse_metadata(text) == {"major_brand": "isom", "comment": "a=b;#\\c\nd"}
