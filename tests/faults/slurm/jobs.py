"""Jobs of a test: submit, watch and disturb them, without waiting as long as Slurm would."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.faults.slurm.cluster import ask

RECIPES = Path(__file__).parents[3] / "recipes" / "slurm"
PATIENCE_SECONDS = 900.0
_BEGIN_TIME_SECONDS = 3.0
"""A job that was requeued waits two minutes; told to start sooner than 2 s after, it fails ("credential revoked")."""


def submit(script: str, *arguments: str | Path, options: tuple[str, ...] = ()) -> str:
    """Hand one of the project's scripts, or a command of its own (``--wrap=...``), to sbatch; the job's number."""
    what = [script] if script.startswith("--") else [str(RECIPES / script)]
    small = ("--cpus-per-task=1", "--mem-per-cpu=1000")
    return ask("sbatch", "--parsable", *small, *options, *what, *map(str, arguments)).strip()


def look(job: str) -> dict[str, str]:
    """What Slurm says of a job or of an element of an array, ``12_1``."""
    lines = ask("scontrol", "show", "job", "--oneliner", job).splitlines()
    return dict(re.findall(r"(\w+)=(\S*)", lines[0]))


def restarts(job: str) -> int:
    """How often it was requeued."""
    return int(look(job)["Restarts"])


def wait_until(true: Callable[[], bool], what: str, job: str = "") -> None:
    """Wait for something to be so; a job that waits for its begin after a requeue is told to start meanwhile.

    Raises:
        AssertionError: If it does not come true in time, or the job ends without it.
    """
    waiting, end = 0.0, time.monotonic() + PATIENCE_SECONDS
    while not true():
        said = look(job) if job else {}
        assert time.monotonic() < end, f"{what}: not so in {PATIENCE_SECONDS:g} s; {said}"
        over = said.get("JobState") in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
        assert not over or true(), f"{what}: not so, and the job is over; {said}"
        if said.get("JobState") == "PENDING" and said.get("Reason") == "BeginTime":
            waiting = waiting or time.monotonic()
            if time.monotonic() - waiting > _BEGIN_TIME_SECONDS:
                ask("scontrol", "update", f"JobId={job}", "StartTime=now")
                waiting = 0.0
        time.sleep(0.1)


def run_to_end(job: str) -> str:
    """Wait for the end of a job; its state."""
    busy = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING", "REQUEUED", "PREEMPTED", "NODE_FAIL")
    wait_until(lambda: look(job)["JobState"] not in busy, f"job {job} ends", job)
    return look(job)["JobState"]


def last_step(run: Path) -> int:
    """The last step that a run has logged; 0 before the first."""
    try:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except (FileNotFoundError, ValueError):  # not there, or being written
        return 0


def hold(place: Path) -> None:
    """Stop the processes that work on a folder, until Slurm has something to tell them: it sends SIGCONT before.

    Not by ``scancel --signal=STOP``, for that is then the state that Slurm tells.
    """
    for process, _ in _workers(place):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)


def keepers(place: Path, element: str = "") -> int:
    """Processes that work on a folder, keep signals for later (``kept_signals``) and have not imported torch.

    Args:
        place: The folder.
        element: Those of one element of a job array alone.
    """
    return sum(_keeps(folder, element) for _, folder in _workers(place))


def _workers(place: Path) -> list[tuple[int, Path]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"soracli.cli.start" in words and str(place).encode() in words:
                found.append((int(folder.name), folder))
    return found


def _keeps(process: Path, element: str) -> bool:
    try:
        if element and f"SLURM_ARRAY_TASK_ID={element}\0".encode() not in (process / "environ").read_bytes():
            return False
        blocked = re.search(r"SigBlk:\s*(\w+)", (process / "status").read_text())
        return (
            blocked is not None and int(blocked[1], 16) >> 9 & 1 == 1 and "torch" not in (process / "maps").read_text()
        )
    except OSError:
        return False
