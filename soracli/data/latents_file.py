"""The latents of one video in one file, written and read as a stream.

A safetensors file with one tensor, ``latents`` ``(C, T, H, W)``, normalised, float32 or float16: anything that reads
safetensors reads it, whole or by slices of time. Its metadata has one entry, ``sora``, JSON::

    format, kind        1, "latents"
    spec                the LatentSpec, with the hash of the VAE
    fps                 frames a second as a fraction, "30000/1001"
    num_frames, height, width
                        of the video, which decoding gives back exactly
    padding             what was added to fill the latents: frames at the end (the last one held), rows at the bottom
                        and columns at the right (the edge repeated)
    made                how: source and its SHA-256, frames at once, tiles, background, version
    sha256              of the latents, latent frame by latent frame

The file is pre-sized and filled frame by frame, so that memory does not grow with the length; the hash is checked while
it is read. Slices are read through a map of the file that is given up after each, because mapped pages count as memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from soracli.core.errors import ArtifactError, NumericsError, UsageError
from soracli.core.files import check_free_disk, finish_file, machine_error, part_name
from soracli.core.latent_spec import LatentSpec

FORMAT: Final = 1

StoredType = Literal["float32", "float16"]
"""Latents have deviation 1: float16 keeps 3 digits of them in half the space, where bfloat16 would keep 2."""

_TYPES: Final[Mapping[str, tuple[str, torch.dtype]]] = {
    "float32": ("F32", torch.float32),
    "float16": ("F16", torch.float16),
}
_NO_HASH: Final = "0" * 64


@dataclass(frozen=True, kw_only=True)
class LatentsRecord:
    """What a latents file says of itself.

    Attributes:
        spec: Of its latents.
        num_frames: Frames of the video.
        height: Of its frames, in pixels.
        width: Of its frames, in pixels.
        fps: Frames a second.
        stored: Number type in the file.
        made: How it was made, as JSON values.
        sha256: Of the latents.
    """

    spec: LatentSpec
    num_frames: int
    height: int
    width: int
    fps: Fraction
    stored: StoredType
    made: Mapping[str, Any]
    sha256: str = _NO_HASH

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the latents, ``(C, T, H, W)``."""
        frames = self.spec.latent_frames_covering(self.num_frames)
        return (self.spec.channels, frames, *self.spec.latent_size_covering(self.height, self.width))

    @property
    def padding(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels that were added to fill the latents."""
        _, frames, rows, columns = self.shape
        _, height, width = self.spec.compression
        return (
            self.spec.video_frames(frames) - self.num_frames,
            rows * height - self.height,
            columns * width - self.width,
        )

    @property
    def num_bytes(self) -> int:
        """Of the latents in the file."""
        return math.prod(self.shape) * _TYPES[self.stored][1].itemsize

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        frames, rows, columns = self.padding
        return {
            "format": FORMAT,
            "kind": "latents",
            "spec": self.spec.to_dict(),
            "fps": str(self.fps),
            "num_frames": self.num_frames,
            "height": self.height,
            "width": self.width,
            "padding": {"frames": frames, "rows": rows, "columns": columns},
            "made": dict(self.made),
            "sha256": self.sha256,
        }


class LatentsWriter:
    """Writes one latents file as they come; a file under its final name is whole.

    A context manager. They go to ``NAME.part.SUFFIX``, which is removed when it is left by an exception.

    Args:
        path: Final name.
        record: What the file will say; its shape is what must come.
        overwrite: Replace an existing file instead of refusing.

    Raises:
        UsageError: If the file exists, or is a folder.
        MachineError: If the disk is too full or the folder cannot be written.
    """

    def __init__(self, path: Path, record: LatentsRecord, *, overwrite: bool = False) -> None:
        self.path, self.part = path, part_name(path)
        self.num_latents = 0
        self._record, self._overwrite = record, overwrite
        self._digest = hashlib.sha256()
        self._file: IO[bytes] | None = None
        refuse_existing(path, overwrite)

    def __enter__(self) -> LatentsWriter:
        header = _header(self._record)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_free_disk(self.path.parent, self._record.num_bytes, "the latents")
            self._file = self.part.open("wb")
            self._file.write(header)
            self._file.truncate(len(header) + self._record.num_bytes)
        except OSError as error:
            raise self._failure(error) from error
        self._begin = len(header)
        return self

    def write(self, latents: Tensor) -> None:
        """Append latent frames.

        Args:
            latents: Normalised, ``(C, t, H, W)``.

        Raises:
            NumericsError: If they are not finite, or too large for the file's number type.
            MachineError: If the disk is full.
            ValueError: If the shape is another, or more come than the record says.
        """
        assert self._file is not None
        channels, total, rows, columns = self._record.shape
        count = latents.shape[1]
        if latents.shape != (channels, count, rows, columns) or self.num_latents + count > total:
            raise ValueError(f"{self.num_latents} of {self._record.shape} latents are there, got {tuple(latents.shape)}")
        stored = latents.to(_TYPES[self._record.stored][1]).contiguous()
        if not bool(torch.isfinite(stored).all()):
            raise NumericsError(f"the latents of {self.path} are not finite in {self._record.stored}; nothing is kept")
        _hash_frames(self._digest, stored)
        frame = rows * columns * stored.element_size()
        try:
            for channel, values in enumerate(stored.numpy()):
                self._file.seek(self._begin + (channel * total + self.num_latents) * frame)
                self._file.write(values.data)
        except OSError as error:
            raise self._failure(error) from error
        self.num_latents += count

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._file is not None
        try:
            if error is None:
                self._finish()
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            self.part.unlink(missing_ok=True)  # no longer there once it is whole

    def _finish(self) -> None:
        assert self._file is not None
        if self.num_latents != self._record.shape[1]:
            raise ValueError(f"{self.num_latents} of {self._record.shape[1]} latent frames came")
        try:
            self._file.seek(0)
            self._file.write(_header(replace(self._record, sha256=self._digest.hexdigest())))
            self._file.close()
            refuse_existing(self.path, self._overwrite)
            finish_file(self.part, self.path)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> Exception:
        return machine_error(error, self.part, "cannot write")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to write where something is.

    Raises:
        UsageError: If the path is a folder, or a file that must not be replaced.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it, for example {path / 'video.safetensors'}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; give another name, or --overwrite")


def read_latents_record(path: Path) -> LatentsRecord:
    """What a latents file says of itself; its latents are not read.

    Raises:
        ArtifactError: If it is missing, no latents file, damaged, or made by a newer version.
    """
    with _opened(path) as file:
        text = (file.metadata() or {}).get("sora")
        names = list(file.keys())
        tensor = file.get_slice("latents") if "latents" in names else None
        shape, kind = (tensor.get_shape(), tensor.get_dtype()) if tensor is not None else ([], "")
    try:
        values = json.loads(text) if text is not None else None
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}; encode the video again") from error
    if not isinstance(values, dict) or values.get("kind") != "latents":
        raise ArtifactError(f"{path} holds no latents of a video; make some: sora vae encode VIDEO --out FILE")
    if values.get("format") != FORMAT:
        raise ArtifactError(f"{path} has format {values.get('format')}; this sora reads {FORMAT}: update sora")
    stored = next((name for name, (code, _) in _TYPES.items() if code == kind), None)
    try:
        if stored is None or values["num_frames"] < 1 or values["height"] < 1 or values["width"] < 1:
            raise ValueError("impossible numbers")
        record = LatentsRecord(
            spec=LatentSpec.from_dict(values["spec"]),
            num_frames=int(values["num_frames"]),
            height=int(values["height"]),
            width=int(values["width"]),
            fps=Fraction(values["fps"]),
            stored=stored,  # type: ignore[arg-type]
            made=dict(values["made"]),
            sha256=str(values["sha256"]),
        )
        if list(record.shape) != shape or record.fps <= 0:
            raise ValueError(f"latents {shape} are not the {list(record.shape)} of the video it describes")
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ArtifactError(f"{path} is damaged: {error}; encode the video again") from error
    return record


def stream_latents(path: Path, record: LatentsRecord, chunk_latents: int) -> Iterator[Tensor]:
    """The latents of a file in chunks, in constant memory.

    Args:
        path: The file.
        record: Of ``read_latents_record``.
        chunk_latents: Latent frames in one tensor.

    Yields:
        Normalised float32 ``(C, t, H, W)``; t is ``chunk_latents`` except in the last one.

    Raises:
        ArtifactError: If the latents are not those that were written; at the latest behind the last chunk.
        NumericsError: If they are not finite.
    """
    digest = hashlib.sha256()
    total = record.shape[1]
    for start in range(0, total, chunk_latents):
        with _opened(path) as file:
            latents = file.get_slice("latents")[:, start : min(start + chunk_latents, total)]
            stored = latents.clone(memory_format=torch.contiguous_format)
            del latents
        _hash_frames(digest, stored)
        if not bool(torch.isfinite(stored).all()):
            raise NumericsError(f"{path}: its latents are not finite; encode the video again")
        yield stored.float()
    if digest.hexdigest() != record.sha256:
        raise ArtifactError(f"{path} is damaged: its latents are not those that were written; encode the video again")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; make latents: sora vae encode VIDEO --out FILE") from None
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is no latents file, or it is damaged ({error}); make one: sora vae encode VIDEO --out FILE"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error


def _header(record: LatentsRecord) -> bytes:
    """The safetensors header: 8 bytes of its length, JSON, spaces up to a multiple of 8."""
    described = {
        "__metadata__": {"sora": json.dumps(record.to_dict(), allow_nan=False)},
        "latents": {
            "dtype": _TYPES[record.stored][0],
            "shape": list(record.shape),
            "data_offsets": [0, record.num_bytes],
        },
    }
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _hash_frames(digest: Any, stored: Tensor) -> None:
    # Frame by frame, so that it does not matter how many came at once.
    for index in range(stored.shape[1]):
        digest.update(stored[:, index].contiguous().numpy().data)
