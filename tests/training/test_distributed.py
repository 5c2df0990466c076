"""Two gloo ranks against one process, as torchrun and as srun start them; and what ranks tell each other."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from soracli.core.errors import MachineError
from soracli.training.checkpoint import load_latest
from soracli.training.distributed import agree_on_stop, all_mean, average_gradients, on_all, on_main, open_world
from tests.training.toy import ALONE, train_toy

ROOT = Path(__file__).parents[2]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def variables(launcher: str, rank: int, port: str) -> dict[str, str]:
    """What the launcher sets for one of two ranks."""
    if launcher == "torchrun":
        own = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    else:
        own = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_LOCALID": str(rank), "SLURM_STEP_ID": "0"}
        own |= {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "localhost"}
    return {**own, "MASTER_PORT": port}


@pytest.mark.row(37)
@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_two_ranks_are_one(tmp_path, launcher):
    port = free_port()
    ranks = [json.dumps(variables(launcher, rank, port)) for rank in range(2)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.rank_child", str(tmp_path), *ranks],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert one["sums"] == two["sums"] and one["losses"] == two["losses"]

    alone, losses = train_toy(None, 12, dropout=False)
    assert one["losses"] == pytest.approx(losses, rel=1e-6)
    found = load_latest(tmp_path / "checkpoints")
    for name, tensor in alone.items():
        part, _, inside = name.partition("/")
        torch.testing.assert_close(found.parts[part][inside], tensor, atol=1e-6, rtol=1e-6)

    for report in (one, two):
        assert report["stop"] == 3
        assert report["value"] == {"from": 0}
        assert report["busy"] == ["BusyError", "taken"]
        assert report["recipe"] == ["RecipeError", "a\nb"]
        assert report["mean"] == [(1 + 4) / 2, 8 / 2, None]
        assert report["all"] == [{"from": 0, "text": "ä"}, {"from": 1, "text": "ää"}]
    assert one["broadcast"] == two["broadcast"]
    assert one["one of all"] == ["MachineError", "rank 1: the disk is full"]
    assert two["one of all"] == ["MachineError", "the disk is full"]
    assert one["bug"] == ["ZeroDivisionError", "oops"]
    assert two["bug"] == ["SoraError", "rank 0: ZeroDivisionError: oops"]


def test_alone_everything_is_free():
    with open_world("cpu", environ={}) as world:
        assert world == ALONE and world.is_main
    assert all_mean([1.5, 2.0], ALONE) == [1.5, 2.0]
    assert agree_on_stop(2, ALONE) == 2
    assert on_main(lambda: "here", ALONE) == "here" and on_all(lambda: "here", ALONE) == ["here"]
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    average_gradients([parameter], ALONE)
    assert float(parameter.grad) == 1


def test_ranks_that_never_come_are_a_machine_error():
    absent = variables("srun", 1, free_port())
    with (
        pytest.raises(MachineError, match=r"rank 1 of 2 cannot reach the others at localhost"),
        open_world("cpu", timeout_seconds=1, environ=absent),
    ):
        pass
