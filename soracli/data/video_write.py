"""Frames into video files as they come, in constant memory; a file under its final name is always whole.

While frames come they go to ``NAME.part.mp4``. mp4 and mov are written in fragments, so the part already plays and
survives a kill; at the end it is turned into an ordinary file, made durable and renamed. Even sizes are written as
yuv420p, which plays everywhere; an odd side would need a border there, so odd sizes are written as yuv444p and keep
exactly their pixels. Colours are converted with the BT.709 matrix and tagged so.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import tempfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np

from soracli.core.errors import MachineError, UsageError, nearest
from soracli.core.files import finish_file, machine_error, part_name
from soracli.data.ffmpeg import ffmpeg_path, plain_reason, split_log_line
from soracli.data.image_read import Frames
from soracli.data.image_write import write_png

SUFFIXES: Final = (".mp4", ".mkv", ".mov", ".webm", ".gif", ".webp", ".png")
"""What ``VideoWriter`` can write, by suffix."""

MAX_METADATA_BYTES: Final = 64 * 1024
"""Longest metadata as JSON: it travels as one argument, and Linux takes at most 128 KiB in one."""

_REINSTALL: Final = "take the one that comes along: pip install --force-reinstall imageio-ffmpeg"
_ENCODERS: Final = {
    **{".mp4": "libx264", ".mkv": "libx264", ".mov": "libx264"},
    **{".webm": "libvpx-vp9", ".gif": "gif", ".webp": "libwebp_anim"},
}
_X264 = ["-c:v", "libx264", "-preset", "medium", "-crf", "{crf}"]
_VP9 = ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "{crf}", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"]


def checked_suffix(path: Path) -> str:
    """The suffix of a file that can be written, in lower case.

    Raises:
        UsageError: If it is unknown; names the nearest known one.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        near = nearest(suffix, SUFFIXES) or ".mp4"
        known = ", ".join(SUFFIXES)
        raise UsageError(
            f"cannot write {path.name!r}: the suffix says the kind and must be one of {known}; try {path.stem}{near}"
        )
    return suffix


class VideoWriter:
    """Writes one video, animation or picture; the suffix of the path says which.

    Use it as a context manager. Leaving it normally finishes the file and renames it; leaving it by an exception keeps
    what came so far as ``NAME.part.SUFFIX``, which plays. ``.gif`` gets a palette for every frame; ``.webp`` is kept in
    memory by its encoder until the end, so it is for short animations; ``.png`` takes one frame.

    Args:
        path: Final name: .mp4, .mkv, .mov (H.264), .webm (VP9), .gif, .webp or .png.
        fps: Frames a second.
        crf: Constant rate factor of H.264 and VP9, 0 (best) to 51; for webp the quality is ``100 - crf``.
        threads: Threads of the encoder; 0 lets it choose.
        metadata: What made the video (prompt, seed, model hash, version ...), kept as JSON in the comment tag of mp4,
            mov, mkv and webm and in a text chunk of png; gif and webp have no place for it.
        overwrite: Replace an existing file instead of refusing.
        lossless: Keep every pixel as it is (FFV1 in RGB), in a .mkv.

    Raises:
        UsageError: On an unknown suffix, another than .mkv where nothing may be lost, an existing file, or metadata
            beyond 64 KiB.
        MachineError: When entered, if ffmpeg or its encoder is missing; on a full disk, a folder that cannot be
            written, or an encoder that died. The part file stays.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float,
        crf: int = 16,
        threads: int = 0,
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        lossless: bool = False,
    ) -> None:
        self.path = Path(path)
        self.part = part_name(self.path)
        self.num_frames = 0
        self._suffix = checked_suffix(self.path)
        self._fps = fps
        self._crf = crf
        self._threads = threads
        self._comment = json.dumps(dict(metadata), allow_nan=False) if metadata else ""
        self._overwrite = overwrite
        self._lossless = lossless
        if lossless and self._suffix != ".mkv":
            raise UsageError(f"only a .mkv keeps every pixel: name {self.path.with_suffix('.mkv')}")
        self._size: tuple[int, int] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._picture: Frames | None = None
        self._log: IO[bytes] | None = None
        if len(self._comment) > MAX_METADATA_BYTES:
            raise UsageError(
                f"the metadata of {self.path} is longer than {MAX_METADATA_BYTES >> 10} KiB; shorten the prompt"
            )
        if not 0 <= crf <= 51:
            raise UsageError(f"crf must be 0 (best) to 51, got {crf}")
        self._refuse_existing()

    def _refuse_existing(self) -> None:
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a folder; name a file in it, for example {self.path / 'video.mp4'}")
        if self.path.exists() and not self._overwrite:
            raise UsageError(f"{self.path} exists; give another name or --overwrite")

    def __enter__(self) -> VideoWriter:
        if self._suffix != ".png":
            _check_encoder(ffmpeg_path(), "ffv1" if self._lossless else _ENCODERS[self._suffix])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # The encoder of a process that was killed may still be writing there: into its own file, not into ours.
            if self.part.is_file():
                self.part.unlink()
            # Finds a read-only folder or a full disk before minutes are spent on frames.
            self.part.open("wb").close()
        except OSError as error:
            raise machine_error(error, self.part, "cannot write") from error
        return self

    def write(self, frames: Frames) -> None:
        """Append frames.

        Args:
            frames: uint8 ``(T, H, W, 3)``; H and W as in the first call.

        Raises:
            MachineError: If the encoder died or the disk is full.
            UsageError: If a second frame is given for a picture.
            ValueError: If shape or type are not those above.
        """
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}")
        if self._size is None:
            self._size = (frames.shape[1], frames.shape[2])
        if frames.shape[1:3] != self._size:
            raise ValueError(f"frames of {self.path} are (H, W) = {self._size}, got {frames.shape[1:3]}")
        if self._suffix == ".png":
            self._keep_picture(frames)
            return
        if self._process is None:
            self._process = self._start(self._size)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(frames).data)
            self._process.stdin.flush()
        except OSError as error:
            raise self._failure() from error
        self.num_frames += len(frames)

    def _keep_picture(self, frames: Frames) -> None:
        self.num_frames += len(frames)
        if self.num_frames > 1:
            raise UsageError(
                f"{self.path.name} holds one picture, got several frames; name a .mp4, or --count N for N pictures"
            )
        self._picture = frames[0] if len(frames) else None

    def _start(self, size: tuple[int, int]) -> subprocess.Popen[bytes]:
        program = ffmpeg_path()
        height, width = size
        rate = str(Fraction(self._fps).limit_denominator(100_000))
        # The log goes to an unnamed file: a pipe that nobody reads could fill and stop the encoder.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the encoder has ended
        command = [
            *(program, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error", "-y"),
            *("-protocol_whitelist", "pipe", "-f", "rawvideo", "-pix_fmt", "rgb24"),
            *("-s", f"{width}x{height}", "-framerate", rate, "-i", "pipe:0"),
            *self._encoder_arguments(height, width, program),
            *("-threads", str(self._threads), *(["-metadata", f"comment={self._comment}"] if self._comment else [])),
            f"file:{self.part.absolute()}",
        ]
        try:
            # A session of its own: ^C reaches us alone, and the encoder still finishes the part file.
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log, start_new_session=True
            )
        except OSError as error:
            raise MachineError(f"ffmpeg does not start ({program}): {error.strerror}") from error

    def _encoder_arguments(self, height: int, width: int, program: str) -> list[str]:
        if self._lossless:
            return ["-vf", "format=gbrp", "-c:v", "ffv1", "-level", "3", "-g", "1", "-slices", "4"]
        if self._suffix == ".gif":
            return ["-vf", "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1", "-loop", "0"]
        if self._suffix == ".webp":
            return ["-c:v", "libwebp_anim", "-quality", str(100 - self._crf), "-loop", "0"]
        pixels = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        encoder = [word.format(crf=self._crf) for word in (_VP9 if self._suffix == ".webm" else _X264)]
        flags = ["-movflags", _fragments(program)] if self._suffix in (".mp4", ".mov") else []
        return [
            *(
                "-vf",
                f"scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_inp,format={pixels}",
            ),
            *(*encoder, "-g", str(max(1, round(2 * self._fps))), *flags, "-flush_packets", "1"),
            *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
        ]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                # The first error is the one to tell; the encoder closes what it has.
                with contextlib.suppress(MachineError):
                    self._end_encoder()
                return
            self._finish()
        finally:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if self._log is not None:
                self._log.close()
            # Nothing came: an empty file would only be in the way.
            if self.num_frames == 0:
                self.part.unlink(missing_ok=True)

    def _end_encoder(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if self._process.wait() != 0:
            raise self._failure()

    def _finish(self) -> None:
        if self.num_frames == 0:
            raise UsageError(f"{self.path}: no frames were written")
        try:
            if self._picture is not None:
                write_png(self.part, self._picture, self._comment)
            self._end_encoder()
            self._refuse_existing()
            finish_file(self.part, self.path)
        except OSError as error:
            raise machine_error(error, self.part, "cannot write") from error

    def _failure(self) -> MachineError:
        assert self._process is not None
        assert self._log is not None
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read(1 << 16).decode("utf-8", "replace").splitlines()
        reason = plain_reason([split_log_line(line)[1] for line in lines if line], f"ended with status {status}")
        return MachineError(
            f"cannot write {self.path}: the encoder stopped: {reason}; {self.num_frames} frames are in {self.part}"
        )


@functools.cache
def _check_encoder(program: str, encoder: str) -> None:
    """Refuse an ffmpeg that cannot write the file, before minutes are spent on frames.

    Raises:
        MachineError: If it does not start or has no such encoder.
    """
    try:
        known = subprocess.run(
            [program, "-hide_banner", "-h", f"encoder={encoder}"], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"ffmpeg does not start ({program}): {error}; {_REINSTALL}") from error
    if not known.stdout.startswith(f"Encoder {encoder} ".encode()):
        raise MachineError(f"ffmpeg has no encoder {encoder} ({program}); {_REINSTALL}")


@functools.cache
def _fragments(program: str) -> str:
    """Muxer flags for a file that plays while it grows, an ordinary one at the end where this ffmpeg can (8 on)."""
    known = subprocess.run([program, "-hide_banner", "-h", "muxer=mp4"], capture_output=True, timeout=60, check=False)
    return "hybrid_fragmented" if b"hybrid_fragmented" in known.stdout else "frag_keyframe+empty_moov+default_base_moof"
