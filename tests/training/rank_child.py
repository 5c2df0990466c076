"""Two ranks of the toy, started by test_distributed.py: each trains, then reports what it saw as JSON.

Usage: python -m tests.training.rank_child FOLDER ENVIRONMENT_OF_RANK_0 ENVIRONMENT_OF_RANK_1. Ranks are forks, so that
torch is imported once.
"""

import json
import os
import sys
from pathlib import Path

import torch

from soracli.core.errors import BusyError, MachineError, RecipeError, SoraError
from soracli.training.distributed import (
    World,
    agree_on_stop,
    average_gradients,
    barrier,
    broadcast_module,
    on_all,
    on_main,
    open_world,
)
from soracli.training.seeding import seed_global
from tests.training.toy import Toy, train_toy


def refused(error: Exception, world: World) -> list[str]:
    """What every rank is told when rank 0 raises."""

    def fail() -> None:
        raise error

    try:
        on_main(fail, world)
    except (SoraError, ZeroDivisionError) as seen:
        return [type(seen).__name__, str(seen)]
    return []


def all_refused(world: World) -> list[str]:
    """What every rank is told when rank 1 raises what others do not."""

    def fail() -> None:
        if world.rank == 1:
            raise MachineError("the disk is full")

    try:
        on_all(fail, world)
    except SoraError as seen:
        return [type(seen).__name__, str(seen)]
    return []


def mean(world: World) -> list[float | None]:
    """Ranks 0 and 1 hold 1 and 4; one gradient is on rank 1 only, one on neither."""
    both, one_sided, neither = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    both.grad = torch.tensor([1.0 + 3 * world.rank])
    if world.rank == 1:
        one_sided.grad = torch.tensor([8.0])
    average_gradients([both, one_sided, neither], world)
    return [None if value.grad is None else float(value.grad) for value in (both, one_sided, neither)]


def run_rank(folder: Path) -> None:
    """Everything one rank does."""
    with open_world("cpu", timeout_seconds=60) as world:
        tensors, losses = train_toy(folder / "checkpoints", 12, world=world, dropout=False)
        seed_global(world.rank)
        strange = Toy()
        broadcast_module(strange, world)
        report = {
            "losses": losses,
            "sums": {name: float(tensor.double().sum()) for name, tensor in sorted(tensors.items())},
            "stop": agree_on_stop([2, 3][world.rank], world),
            "value": on_main(lambda: {"from": world.rank}, world),
            "busy": refused(BusyError("taken"), world),
            "recipe": refused(RecipeError(["a", "b"]), world),
            "bug": refused(ZeroDivisionError("oops"), world),
            "all": on_all(lambda: {"from": world.rank, "text": "ä" * (1 + world.rank)}, world),
            "one of all": all_refused(world),
            "mean": mean(world),
            "broadcast": float(sum(tensor.double().sum() for tensor in strange.state_dict().values())),
        }
        barrier(world)
        (folder / f"rank{world.rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    train_toy(None, 1)  # what torch imports at its first step is then imported once as well
    ranks = []
    for variables in sys.argv[2:]:
        process = os.fork()
        if process == 0:
            os.environ.update(json.loads(variables))
            run_rank(Path(sys.argv[1]))
            sys.exit(0)
        ranks.append(process)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0 for process in ranks))
