"""The ffmpeg program as a reader of untrusted files: one process a file, no shell, no network, a limit on silence.

What a file may do is bounded: only local files (``-protocol_whitelist``), only containers of video
(``-format_whitelist``: no playlists that name other files), a cap on pixels and one on memory, and a process that says
nothing for longer than the time limit is killed. Everything it complains about is kept.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import selectors
import stat
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import imageio_ffmpeg

from soracli.core.errors import DataError, MachineError

MAX_PIXELS: Final = 8192 * 8192
"""Largest frame that is decoded, in pixels; a guard against decompression bombs."""

MAX_MEMORY: Final = 6 << 30
"""Most address space of one decoder, in bytes; a file that asks for more is refused."""

DEFAULT_TIMEOUT: Final = 60.0
"""Seconds without any output after which a decoder counts as hanging."""

_DEMUXERS: Final = (
    "3g2,asf,av1,avi,dv,flv,gxf,h264,hevc,ivf,live_flv,m4v,matroska,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,"
    "webm,wtv,yuv4mpegpipe"
)
_LOG_LINE = re.compile(r"(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(\w+)\] ?(.*)")
_KEPT_LINES: Final = 400
_MAX_LINE: Final = 4000
_PLAIN_WORDS: Final = {
    "moov atom not found": "it is no video, or it is cut off (the index, moov atom, is missing)",
    "Invalid data found when processing input": "it holds nothing that ffmpeg knows as video",
    "Format not on whitelist": "it holds no kind of video that is read here",
    "matches no streams": "it has no video stream",
    "partial file": "the file ends before its header says",
    "File ended prematurely": "the file ends before its header says",
    "Packet corrupt": "a packet is corrupt",
    "No space left on device": "the disk is full",
    "Cannot allocate memory": "it asks for more memory than a decoder is given",
}


def ffmpeg_path() -> str:
    """The ffmpeg program that imageio-ffmpeg brings.

    Raises:
        MachineError: If there is none for this machine.
    """
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise MachineError("ffmpeg is missing: pip install --force-reinstall imageio-ffmpeg") from error


def checked_file(path: Path) -> Path:
    """The absolute path of an ordinary file with something in it.

    Raises:
        DataError: If it is missing, a directory, a pipe or device, empty, or not readable.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}".lower()) from None
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path}: is a directory, not a video file; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is no ordinary file (a pipe, socket or device)")
    if status.st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: permission denied")
    return path.absolute()


def input_arguments(path: Path, *options: str) -> list[str]:
    """Arguments that name one local video file, with every guard on.

    Args:
        path: The file; passed as ``file:/absolute/path`` so that no name can be an option, a protocol or a pattern.
        options: Further input options, put before ``-i``.
    """
    guards = ["-protocol_whitelist", "file,pipe", "-format_whitelist", _DEMUXERS, "-max_pixels", str(MAX_PIXELS)]
    return [*guards, *options, "-i", f"file:{path.absolute()}"]


class FFmpegOutput:
    """A running ffmpeg whose standard output is read as it comes.

    A context manager; leaving it kills the process if it still runs.

    Args:
        arguments: Everything after the program's name except the general options.
        timeout: Seconds without output after which it counts as hanging.
        source: The file that is read, for errors.
    """

    def __init__(self, arguments: Sequence[str], timeout: float, source: Path) -> None:
        self._timeout = timeout
        self._source = source
        self._head: list[str] = []
        self._tail: deque[str] = deque(maxlen=_KEPT_LINES)
        # nostats: the progress line would be taken for a complaint.
        command = [ffmpeg_path(), "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", *arguments]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise MachineError(f"ffmpeg does not start ({command[0]}): {error.strerror}") from error
        _limit_memory(self._process.pid)
        assert self._process.stdout is not None
        self._stdout = self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with io.BufferedReader(self._process.stderr) as log:  # type: ignore[type-var]
            while raw := log.readline(_MAX_LINE):
                line = raw.decode("utf-8", "replace").rstrip()
                if len(self._head) < _KEPT_LINES:
                    self._head.append(line)
                else:
                    self._tail.append(line)

    def __enter__(self) -> FFmpegOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._listener.join()
        self._selector.close()
        self._stdout.close()

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer of bytes; fewer bytes than it holds come only at the end.

        Raises:
            DataError: If ffmpeg says nothing for longer than the time limit.
        """
        filled, deadline = 0, time.monotonic() + self._timeout
        while filled < len(buffer):
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise self._hangs()
            count = os.readv(self._stdout.fileno(), [buffer[filled:]])
            if count == 0:
                break
            filled += count
            deadline = time.monotonic() + self._timeout
        return filled

    def read_text(self, max_bytes: int) -> str:
        """All of the output as text.

        Raises:
            DataError: If it is longer than ``max_bytes``, or ffmpeg hangs.
        """
        parts: list[bytes] = []
        buffer = memoryview(bytearray(1 << 16))
        while count := self.read_into(buffer):
            parts.append(bytes(buffer[:count]))
            max_bytes -= count
            if max_bytes < 0:
                raise DataError(f"{self._source}: has more frames than are read from one file")
        return b"".join(parts).decode("utf-8", "replace")

    def finish(self) -> int:
        """Wait for the end and give the exit status.

        Raises:
            DataError: If it does not end within the time limit.
        """
        try:
            status = self._process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            raise self._hangs() from None
        self._listener.join()
        return status

    def _hangs(self) -> DataError:
        return DataError(f"{self._source}: the decoder gave nothing for {self._timeout:g} s and was stopped")

    def info_lines(self) -> list[str]:
        """The first lines ffmpeg logged for information, without their prefix (the header of the input)."""
        return [text for level, text in map(split_log_line, list(self._head)) if level == "info"]

    def complaints(self) -> list[str]:
        """Lines that say something is wrong with the file, in order: errors, and warnings of corrupt data."""
        found = [split_log_line(line) for line in (*self._head, *self._tail)]
        return [
            text
            for level, text in found
            if level in ("error", "fatal", "panic") or (level == "warning" and "corrupt" in text.lower())
        ]


def _limit_memory(pid: int) -> None:
    """Cap the address space of a process that has just begun, where the system can."""
    set_limit = getattr(resource, "prlimit", None)  # Linux alone
    if set_limit is not None:
        with contextlib.suppress(OSError, ValueError):  # it has ended already, or a lower limit is set
            set_limit(pid, resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def split_log_line(line: str) -> tuple[str, str]:
    """Level and text of one line that ffmpeg wrote with ``-loglevel level+info``.

    A line without a level goes on with the one before, as after a line end in a file's name; its level is "".
    """
    found = _LOG_LINE.match(line)
    return (found[1], found[2]) if found else ("", line)


def plain_reason(complaints: Sequence[str], otherwise: str = "ffmpeg cannot read it") -> str:
    """The first complaint in plain words, at most 200 characters."""
    for known, words in _PLAIN_WORDS.items():
        if any(known in complaint for complaint in complaints[:3]):
            return words
    return complaints[0][:200] if complaints else otherwise
