"""Tiny real videos for tests, made by ffmpeg's lavfi sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg


def ffmpeg(*arguments: str, content: bytes | None = None) -> bytes:
    """Run ffmpeg on ``content`` and give its standard output; a failure fails the test with what it said."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments]
    done = subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout


def make_video(path: Path, source: str, *arguments: str) -> Path:
    """Write a lavfi source (``testsrc2=s=64x48:r=24:d=1``) to a file; the arguments are output options."""
    ffmpeg("-f", "lavfi", "-i", source, *arguments, f"file:{path}")
    return path


def cut_file(path: Path, cut: Path, share: float = 0.5) -> Path:
    """The first part of a file's bytes under another name."""
    content = path.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    return cut
