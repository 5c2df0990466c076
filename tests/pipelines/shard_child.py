"""Tiny trainings of a DiT by several ranks, started by test_sharded_dit.py.

Usage: python -m tests.pipelines.shard_child FOLDER < RUNS; FOLDER holds ``vae`` and ``latents``, RUNS is JSON: a list
of ``{"name": ..., "turns": [[ranks, [changes of the recipe]], ...]}``. The turns of a run go on in ``FOLDER/name`` one
after another; what ranks said is in ``FOLDER/name.rank0`` and so on. A line of JSON with their exit codes comes for
each run. Ranks are forks, so that torch is imported once; they leave as the command line does.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from soracli.cli.problems import describe_error
from soracli.pipelines import dit_figures, dit_step
from soracli.pipelines.distill_dit import distill_dit
from soracli.pipelines.train_dit import train_dit
from soracli.training import shared_checkpoint
from tests.pipelines.runs import distill_recipe, dit_recipe
from tests.pipelines.test_two_ranks import free_ports

SECOND_SAVE = 4
"""The step at whose checkpoint faults come."""


def disturb(fault: str, rank: int) -> None:
    """Put a fault into what this rank writes, or into what rank 0 writes last."""
    write, finish = shared_checkpoint.write_parts, shared_checkpoint.finish_checkpoint

    def write_or_fail(folder: Path, step: int, parts: object) -> object:
        if step == SECOND_SAVE and fault == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(folder, step, parts)  # type: ignore[arg-type]
        if step == SECOND_SAVE and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    def finish_or_fail(folder: Path, step: int, *rest: object) -> None:
        if step == SECOND_SAVE:
            os.kill(os.getpid(), signal.SIGKILL)
        finish(folder, step, *rest)  # type: ignore[arg-type]

    if fault in ("kill", "full disk") and rank == 1:
        shared_checkpoint.write_parts = write_or_fail  # type: ignore[assignment]
    if fault == "kill of rank 0" and rank == 0:
        shared_checkpoint.finish_checkpoint = finish_or_fail  # type: ignore[assignment]


def run_rank(folder: Path, name: str, changes: Sequence[str]) -> int:
    """Train as one rank; the exit code of the command line."""
    out, init = folder / name, folder / "base" if name.startswith("lora") else None
    try:
        if name.startswith("distilled"):
            recipe = distill_recipe(*changes)
            distill_dit(recipe, model=folder / "base", latents=folder / "latents", out=out, device="cpu")
        else:
            places = {"latents": folder / "latents", "vae": folder / "vae", "out": out, "init": init}
            train_dit(dit_recipe(*changes), **places, device="cpu")  # type: ignore[arg-type]
    except Exception as error:
        lines, code = describe_error(error)
        print("\n".join(lines), file=sys.stderr, flush=True)
        return code
    return 0


def run_turn(folder: Path, name: str, size: int, changes: Sequence[str]) -> list[int]:
    """One turn by so many ranks; their exit codes."""
    [port] = free_ports(1)
    ranks = []
    for rank in range(size):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                os.dup2(os.open(folder / f"{name}.rank{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
                os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
                disturb(name, rank)
                code = run_rank(folder, name, changes)
            finally:
                sys.stderr.flush()
                os._exit(code)
        ranks.append(process)
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in ranks]


if __name__ == "__main__":
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # what torch imports for its first optimiser, once
    dit_figures.product_rate = lambda *arguments: 1e12  # type: ignore[assignment]
    dit_step._VALIDATION_SAMPLES = 4
    for run in json.load(sys.stdin):
        codes = [run_turn(Path(sys.argv[1]), run["name"], *turn) for turn in run["turns"]]
        print(json.dumps({"name": run["name"], "codes": codes}), flush=True)
