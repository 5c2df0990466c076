"""One function over many files in several processes, where nothing that happens to one file stops the others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from soracli.core.errors import DataError, MachineError
from soracli.core.progress import Reporter, Task

Result = TypeVar("Result")


def map_files(
    function: Callable[[Path], Result], paths: Sequence[Path], workers: int, reporter: Reporter, label: str
) -> dict[Path, Result | Exception]:
    """The result, or the error, of a function for every file.

    A process that dies (a decoder library that crashes) takes the others of its pool with it, so the files without an
    answer are tried again, each in a process of its own; one that dies again is that file's error.

    Args:
        function: Picklable when there are several workers.
        paths: The files.
        workers: Processes; with one (or one file) everything happens in this process.
        reporter: Where progress goes.
        label: What is being done, for the progress bar.

    Returns:
        By path: what the function gave, or the ``DataError`` or ``OSError`` it raised.

    Raises:
        MachineError: If the function raises one; that is not about the file. If the machine has no shared memory for
            the locks of several processes.
    """
    results: dict[Path, Result | Exception] = {}
    if not paths:
        return results
    with reporter.task(label, len(paths), "files") as task:
        if workers <= 1 or len(paths) == 1:
            for path in paths:
                results[path] = _attempt(function, path)
                task.advance()
            return results
        _run_pool(function, paths, workers, results, task)
        for path in paths:
            if path not in results:
                _run_pool(function, [path], 1, results, task)
                results.setdefault(path, DataError(f"{path}: its decoder crashed"))
    return results


def _run_pool(
    function: Callable[[Path], Result],
    paths: Sequence[Path],
    workers: int,
    results: dict[Path, Result | Exception],
    task: Task,
) -> None:
    """Fill ``results`` until all is done or a process dies."""
    # Spawned, not forked: a fork would copy the caller's threads' locks.
    context = multiprocessing.get_context("spawn")
    try:
        opened = ProcessPoolExecutor(min(workers, len(paths)), mp_context=context)
    except OSError as error:  # its locks live in shared memory
        reason = (error.strerror or str(error)).lower()
        raise MachineError(
            f"cannot start {workers} workers ({reason}): /dev/shm is too small, or full; use one"
        ) from error
    with opened as pool:
        waiting: dict[Future[Result | Exception], Path] = {
            pool.submit(_attempt, function, path): path for path in paths
        }
        try:
            for future in as_completed(waiting):
                results[waiting[future]] = future.result()
                task.advance()
        except BrokenProcessPool:
            return
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _attempt(function: Callable[[Path], Result], path: Path) -> Result | Exception:
    try:
        return function(path)
    except MachineError:
        raise
    except (DataError, OSError) as error:
        return error
