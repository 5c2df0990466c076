"""The latents of one video in one file, as a stream; ``soracli.data.latents_record`` says what is in it.

Anything that reads safetensors reads the file, whole or by slices of time. It is pre-sized and filled frame by frame,
so that memory does not grow with the length; its hash is checked while it is read. Slices are read through a map of
the file that is given up after each, because mapped pages count as memory.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError, NumericsError, UsageError
from soracli.core.files import check_free_disk, finish_file, machine_error, part_name
from soracli.data.latents_record import LatentsRecord, StoredType, parse_record

_TYPES: Final[Mapping[StoredType, torch.dtype]] = {"float32": torch.float32, "float16": torch.float16}


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
        header = self._record.header()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_free_disk(self.path.parent, self._record.num_bytes, "the latents")
            self._file = self.part.open("wb")
            self._file.write(header)
            self._file.truncate(len(header) + self._record.num_bytes)
        except OSError as error:
            with contextlib.suppress(OSError):
                if self._file is not None:
                    self._file.close()
                self.part.unlink(missing_ok=True)
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
            raise ValueError(
                f"{self.num_latents} of {self._record.shape} latents are there, got {tuple(latents.shape)}"
            )
        stored = latents.to(_TYPES[self._record.stored]).contiguous()
        if not bool(torch.isfinite(stored).all()):
            raise NumericsError(f"the latents for {self.path} are not finite in {self._record.stored}: use float32")
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
            self._file.write(replace(self._record, sha256=self._digest.hexdigest()).header())
            self._file.close()
            refuse_existing(self.path, self._overwrite)
            finish_file(self.part, self.path)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> MachineError:
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
    return parse_record(path, text, shape, kind)


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


def _hash_frames(digest: Any, stored: Tensor) -> None:
    # Frame by frame, so that it does not matter how many came at once.
    for index in range(stored.shape[1]):
        digest.update(stored[:, index].contiguous().numpy().data)
