"""What a run measured: one JSON line per logged step, and TensorBoard beside it if wanted. Torch-free at import.

A line is ``{"step": 10, "seconds": 12.3, "loss": 0.31}``: steps done, seconds of wall time of the whole run so far
(resumes included, pauses not), then the values. A number that is not finite is written as ``"nan"`` or ``"inf"``,
which JSON lacks and ``float()`` reads.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from soracli.core.errors import MachineError
from soracli.core.files import write_text_atomic


class ScalarWriter(Protocol):
    """The part of TensorBoard's writer that is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Record one number."""

    def close(self) -> object:
        """Flush and close."""


class MetricsLog:
    """An open log; made by ``open_metrics``."""

    def __init__(self, file: TextIO | None, seconds_before: float, board: ScalarWriter | None) -> None:
        """Write to ``file`` (None: nowhere); ``seconds_before`` were spent before this process."""
        self._file = file
        self._began = time.monotonic() - seconds_before
        self._board = board

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line, at once.

        Args:
            step: Steps done.
            values: What was measured, by name.

        Raises:
            MachineError: If the disk cannot take it.
        """
        if self._file is None:
            return
        plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        line = {"step": step, "seconds": round(time.monotonic() - self._began, 3), **plain}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise MachineError(f"cannot write {self._file.name}: {error.strerror}") from error
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def rewind(self, step: int) -> None:
        """Drop the lines after ``step``, of a training that went back to it; the seconds they took stay counted.

        Raises:
            MachineError: If the disk cannot take it.
        """
        if self._file is None:
            return
        try:
            self._file.flush()
            kept = [line for line in read_metrics(Path(self._file.name)) if line["step"] <= step]
            self._file.truncate(0)
            self._file.write("".join(json.dumps(line) + "\n" for line in kept))
            self._file.flush()
        except OSError as error:
            raise MachineError(f"cannot write {self._file.name}: {error.strerror}") from error


@contextmanager
def open_metrics(path: Path | None, resumed_step: int = 0, tensorboard: Path | None = None) -> Iterator[MetricsLog]:
    """Open a log to go on after ``resumed_step``; lines of later steps, and one cut by a crash, are dropped.

    Args:
        path: The JSON lines; None (ranks other than 0) writes nothing.
        resumed_step: Steps done by the checkpoint that was loaded; 0 for a new run.
        tensorboard: Folder for event files; None writes none.

    Raises:
        MachineError: If the file cannot be written, or TensorBoard is wanted and not installed.
    """
    if path is None:
        yield MetricsLog(None, 0.0, None)
        return
    board = tensorboard_writer(tensorboard, resumed_step) if tensorboard is not None else None
    try:
        kept = [line for line in read_metrics(path) if line["step"] <= resumed_step]
        write_text_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from error
    try:
        with file:
            yield MetricsLog(file, float(kept[-1]["seconds"]) if kept else 0.0, board)
    finally:
        if board is not None:
            board.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log, in order; none if there is no file. A line cut by a crash is left out."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and "seconds" in line:
            lines.append(line)
    return lines


def tensorboard_writer(folder: Path, resumed_step: int) -> ScalarWriter:
    """TensorBoard's writer; events after ``resumed_step`` are hidden from earlier, interrupted attempts.

    Raises:
        MachineError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MachineError(
            "loop.tensorboard needs TensorBoard: pip install 'sora-trainer[tensorboard]', or set it to false"
        ) from error
    writer: ScalarWriter = SummaryWriter(str(folder), purge_step=resumed_step + 1)
    return writer
