"""Two ranks of a tiny DiT training with a fault in one of them, started by test_ranks.py.

Usage: python -m tests.faults.two_ranks FOLDER FAULT...; FOLDER holds ``vae`` and ``latents``. Every fault gets a run
``FOLDER/FAULT``, what its ranks said in ``FAULT.rank0`` and ``FAULT.rank1``, and a line of JSON on stdout. Ranks are
forks, so that torch is imported once; they leave as the command line does.
"""

import faulthandler
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from soracli.cli.problems import describe_error
from soracli.core.errors import DataError, MachineError
from soracli.pipelines import train_dit as pipeline
from soracli.pipelines.train_dit import train_dit
from tests.pipelines.runs import dit_recipe
from tests.pipelines.test_two_ranks import free_ports

AT_STEP = 3


def raising(error: Exception) -> Callable[[], None]:
    """A fault that is an exception."""

    def fail() -> None:
        raise error

    return fail


FAULTS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill of rank 0": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": faulthandler._sigsegv,  # type: ignore[attr-defined]
    "exit": lambda: sys.exit(3),
    "bug": raising(ZeroDivisionError("oops")),
    "data": raising(DataError("clip seven cannot be read")),
    "memory": raising(MemoryError()),
    "data on rank 0": raising(DataError("clip seven cannot be read")),
    "hang of rank 0": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "hang": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}
"""What happens to one rank in its step ``AT_STEP``, before it hands over its gradients."""


def disturb(fault: str, rank: int) -> None:
    """Put a fault into this rank."""
    learn, save = pipeline.learn, pipeline.save_train_state
    if fault == "full disk":

        def fail(*arguments: object) -> Path:
            if arguments[1].step >= AT_STEP:  # type: ignore[attr-defined]
                raise MachineError("cannot write a checkpoint: the disk is full")
            return save(*arguments)  # type: ignore[arg-type]

        pipeline.save_train_state = fail  # type: ignore[assignment]
    if rank == ("0" in fault):
        return

    def learn_or_fail(model, batch, recipe, state, world):  # type: ignore[no-untyped-def]
        if fault == "nan" and state.step == AT_STEP:
            batch = [(tokens, targets * math.nan) for tokens, targets in batch]
        elif fault == "spike" and state.step == AT_STEP:
            batch = [(tokens, targets * 1e4) for tokens, targets in batch]
        elif fault in FAULTS and state.step == AT_STEP:
            FAULTS[fault]()
        return learn(model, batch, recipe, state, world)

    pipeline.learn = learn_or_fail  # type: ignore[assignment]


def run_rank(folder: Path, fault: str, rank: int, *changes: str) -> int:
    """Train as this rank; the exit code that the command line would leave with."""
    try:
        train_dit(
            dit_recipe(*changes), latents=folder / "latents", vae=folder / "vae", out=folder / fault, device="cpu"
        )
    except Exception as error:
        lines, code = describe_error(error)
        print("\n".join(lines), file=sys.stderr)
        return code
    return 0


def start(folder: Path, fault: str, size: int, *changes: str) -> list[int]:
    """Fork so many ranks."""
    [port] = free_ports(1)
    ranks = []
    for rank in range(size):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                os.dup2(os.open(folder / f"{fault}.rank{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
                faulthandler.disable()
                os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
                disturb(fault, rank)
                code = run_rank(folder, fault, rank, *changes)
            except SystemExit as left:
                code = int(left.code or 0)
            finally:
                sys.stderr.flush()
                os._exit(code)
        ranks.append(process)
    return ranks


def run_both(folder: Path, fault: str) -> dict[str, object]:
    """Both ranks to their end; a rank that hangs is ended once the other has left."""
    ranks = start(folder, fault, 2, "loop.rank_timeout=3" if "hang" in fault else "loop.rank_timeout=60")
    codes: dict[int, int] = {}
    times = []
    while len(codes) < 2:
        process, status = os.waitpid(-1, 0)
        times.append(time.monotonic())
        codes[ranks.index(process)] = os.waitstatus_to_exitcode(status)
        if "hang" in fault and len(codes) == 1:
            os.kill(next(rank for rank in ranks if rank != process), signal.SIGKILL)
    return {"fault": fault, "codes": [codes[0], codes[1]], "apart": times[1] - times[0]}


def run_worlds(folder: Path, name: str) -> dict[str, object]:
    """One training by as many ranks as the name says, one number after another, two steps each."""
    codes = []
    for turn, size in enumerate(name.removeprefix("worlds ").split("-")):
        changes = (f"loop.steps={2 * turn + 2}", "optimiser.schedule=constant")
        for process in start(folder, name, int(size), *changes):
            codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    return {"fault": name, "codes": codes, "apart": 0.0}


def run_with_stops(folder: Path, name: str) -> dict[str, object]:
    """One training, where one rank is asked to stop in every step but the last, each time another one."""
    codes = []
    learn = pipeline.learn
    for stop in range(dit_recipe().recipe.loop.steps):

        def learn_and_ask(model, batch, recipe, state, world, stop=stop):  # type: ignore[no-untyped-def]
            if world.rank == stop % 2:
                os.kill(os.getpid(), signal.SIGUSR1)
            return learn(model, batch, recipe, state, world)

        pipeline.learn = learn_and_ask  # type: ignore[assignment]
        for process in start(folder, name, 2):
            codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        pipeline.learn = learn
    return {"fault": name, "codes": codes, "apart": 0.0}


if __name__ == "__main__":
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # what torch imports for its first optimiser, once
    for name in sys.argv[2:]:
        run = run_worlds if name.startswith("worlds") else run_with_stops if name == "stops" else run_both
        print(json.dumps(run(Path(sys.argv[1]), name)), flush=True)
