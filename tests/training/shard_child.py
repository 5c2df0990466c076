"""Three ranks that hold a toy between them, started by test_sharding.py; beside it each trains all of it by itself.

Usage: python -m tests.training.shard_child FOLDER PORT. Each rank writes ``FOLDER/rank0.json`` and so on. Ranks are
forks, so that torch is imported once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from soracli.training.config import LoopConfig, OptimiserConfig
from soracli.training.distributed import World, average_gradients, open_world
from soracli.training.ema import build_averages
from soracli.training.optimiser import StepReport, build_optimiser
from soracli.training.ranks import rows_of
from soracli.training.sharding import Sharding, empty_copy, open_sharding, shard
from soracli.training.shared_matrices import each_on_one_rank
from soracli.training.state import TrainState, begin_state, load_train_state, save_train_state
from tests.training.toy import build_toy

RANKS, STEPS = 3, 6
SHAPES = [(5, 3), (2, 7), (1, 4), (8, 8), (3, 3)]


def make(name: str, dtype: torch.dtype, sharding: Sharding | None) -> TrainState:
    """A toy with its average; its outer parts are a unit, and a layer inside another."""
    model = build_toy().eval().to(dtype)
    config = OptimiserConfig(name=name, learning_rate=0.02, warmup_steps=2, gradient_clip=0.1)  # type: ignore[arg-type]
    if sharding is None:
        return begin_state(model, build_optimiser(model.named_parameters(), config), LoopConfig(ema_decay=0.9))
    averages, empty = build_averages(model, 0.9), empty_copy(model)
    for module in (model, averages["ema"].module):
        shard((module.hidden, module), sharding)  # type: ignore[arg-type]
    optimiser = build_optimiser(model.named_parameters(), config)
    return TrainState(model, averages["ema"], optimiser, averages=averages, sharding=sharding, empty=empty)


def step(state: TrainState, ranks: list[int], world: World, bad: bool = False) -> StepReport:
    """One update from the samples of some ranks."""
    dtype = next(state.model.parameters()).dtype
    drawn = torch.randn(RANKS, 4, 6, generator=torch.Generator().manual_seed(state.step), dtype=torch.float64)
    samples = drawn[ranks].flatten(0, 1).to(dtype)
    loss = (state.model(samples) - samples.flip(1)).square().mean() * (float("nan") if bad else 1)
    loss.backward()
    if state.sharding is not None:
        average_gradients(state.model.parameters(), world)
    report = state.optimiser.step(state.step, STEPS, 0.0)
    if report.applied:
        state.average()
    state.step += 1
    return report


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in tensors.items()}


def largest_error(one: nn.Module, other: nn.Module) -> float:
    found, expected = whole(one.state_dict()), other.state_dict()
    return max(float((found[name] - tensor).abs().max()) for name, tensor in expected.items())


def compare(name: str, dtype: torch.dtype, sharding: Sharding, world: World) -> dict[str, float]:
    """Train both ways."""
    held, alone = make(name, dtype, sharding), make(name, dtype, None)
    norms = []
    for number in range(STEPS):
        # NaN on one rank: no weight changes on any.
        mine = step(held, [world.rank], world, bad=number == 3 and world.rank == 1)
        theirs = step(alone, list(range(RANKS)), world, bad=number == 3)
        assert mine.applied == theirs.applied == (number != 3)
        norms.append(abs(mine.gradient_norm / theirs.gradient_norm - 1) if number != 3 else 0.0)
    averaged = held.whole_average()
    assert (averaged is not None) == world.is_main
    gathered = largest_error(averaged, alone.ema.module) if averaged is not None else 0.0
    return {
        "weights": largest_error(held.model, alone.model),
        "average": largest_error(held.ema.module, alone.ema.module),
        "gathered": gathered,
        "norms": max(norms),
    }


def go_on(folder: Path, sharding: Sharding, world: World) -> dict[str, bool]:
    """Saved by three ranks, read by three and by one."""
    one = make("muon", torch.float32, sharding)
    for _ in range(3):
        step(one, [world.rank], world)
    save_train_state(folder / "checkpoints", one, keep=2)
    other, alone = make("muon", torch.float32, sharding), make("muon", torch.float32, None)
    load_train_state(folder / "checkpoints", other, print)
    load_train_state(folder / "checkpoints", alone, print)
    read = all(torch.equal(t, alone.model.state_dict()[n]) for n, t in whole(one.model.state_dict()).items())
    moments = [(one.optimiser, other.optimiser), (one.optimiser, alone.optimiser)]
    for mine, theirs in moments:
        for part, optimiser in mine.parts.items():
            for name, parameter in mine.names.items():
                twin = theirs.parts[part].state.get(theirs.names[name], {})
                for key, value in whole(optimiser.state.get(parameter, {})).items():
                    read &= torch.equal(value, whole(twin)[key])
    for state in (one, other):
        for _ in range(2):
            step(state, [world.rank], world)
    same = all(torch.equal(t, whole(other.model.state_dict())[n]) for n, t in whole(one.model.state_dict()).items())
    return {"read": read, "same": same}


def share_matrices(sharding: Sharding) -> bool:
    """Whether rows come back as if all matrices were here."""
    generator = torch.Generator().manual_seed(1)
    matrices = [torch.randn(shape, generator=generator) for shape in SHAPES]
    ends = [rows_of(len(matrix), RANKS, sharding.own_slice) for matrix in matrices]
    rows = [matrix[first:last] for matrix, (first, last) in zip(matrices, ends, strict=True)]
    calls = []

    def function(matrix: Tensor) -> Tensor:
        calls.append(matrix.shape)
        return matrix * matrix.sum()

    found = each_on_one_rank(function, rows, SHAPES, sharding.mesh)
    expected = [(m * m.sum())[first:last] for m, (first, last) in zip(matrices, ends, strict=True)]
    return len(calls) < len(SHAPES) and all(map(torch.equal, found, expected))


def run_rank(folder: Path) -> dict[str, Any]:
    """Everything one rank does."""
    with open_world("cpu", timeout_seconds=60) as world:
        sharding = open_sharding(world, 0)
        assert sharding is not None and (sharding.num_slices, sharding.own_slice, sharding.replica) == (
            RANKS,
            world.rank,
            0,
        )
        return {
            "adamw": compare("adamw", torch.float64, sharding, world),
            "muon": compare("muon", torch.float32, sharding, world),
            "going on": go_on(folder, sharding, world),
            "matrices": share_matrices(sharding),
        }


if __name__ == "__main__":
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    ranks = []
    for rank in range(RANKS):
        process = os.fork()
        if process == 0:
            place = {"RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_RANK": str(rank)}
            os.environ.update(place, MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[2])
            report = run_rank(Path(sys.argv[1]))
            (Path(sys.argv[1]) / f"rank{rank}.json").write_text(json.dumps(report))
            sys.exit(0)
        ranks.append(process)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0 for process in ranks))
