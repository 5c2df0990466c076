"""Ranks from the environments that torchrun and Slurm really set, host lists, and shares whose union is the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import UsageError
from soracli.training.ranks import RankPlace, first_host, rank_place, share_of, slurm_port, work_share

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "head", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_JOB_ID": "12",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "2",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "0",
    "SLURM_JOB_NODELIST": "node[1-2]",
}


def test_torchrun():
    assert rank_place(TORCHRUN) == RankPlace(3, 4, 1, "head", 29500, "torchrun")
    assert rank_place({**SRUN, **TORCHRUN}).launcher == "torchrun"  # torchrun started by srun


def test_srun_step():
    assert rank_place(SRUN) == RankPlace(2, 4, 0, "node1", slurm_port(12, 0), "srun", "12.0.0")
    assert rank_place({**SRUN, "SLURM_RESTART_COUNT": "3"}).name == "12.0.3"
    narrowed = rank_place({**SRUN, "SLURM_STEP_NODELIST": "node2", "SLURM_STEP_NUM_TASKS": "3", "MASTER_PORT": "4000"})
    assert (narrowed.size, narrowed.address, narrowed.port) == (3, "node2", 4000)


def test_everything_else_is_one_process():
    batch = {key: value for key, value in SRUN.items() if key != "SLURM_STEP_ID"}
    assert rank_place({}) is None
    assert rank_place({**batch, "SLURM_PROCID": "0"}) is None
    assert rank_place({**SRUN, "SLURM_STEP_ID": "4294967291"}) is None
    assert rank_place({**SRUN, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}) is None
    assert rank_place({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) is None
    assert rank_place({"WORLD_SIZE": "8"}) is None


def test_nonsense_is_named():
    with pytest.raises(UsageError, match="WORLD_SIZE should be a number, got 'four'"):
        rank_place({**TORCHRUN, "WORLD_SIZE": "four"})
    with pytest.raises(UsageError, match="rank 4 of 4"):
        rank_place({**TORCHRUN, "RANK": "4"})


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node1", "node1"),
        ("node[1-2]", "node1"),
        ("tux[08-11,20],big1", "tux08"),
        ("tux[5,1-3]", "tux5"),
        ("a,b[1-2]", "a"),
        ("r[1-2]n[03,7]x", "r1n03x"),
        ("gpu-a.cluster[1-9]", "gpu-a.cluster1"),
        ("", ""),
    ],
)
def test_first_host(nodes, host):
    assert first_host(nodes) == host


@given(each=st.integers(0, 5), size=st.integers(1, 6))
def test_shares_joined_are_the_batch(each, size):
    batch = [7 * index for index in range(each * size)]
    assert [index for rank in range(size) for index in share_of(batch, rank, size)] == batch


@pytest.mark.row(21)
def test_a_batch_that_cannot_be_shared_names_what_fits():
    with pytest.raises(UsageError, match=r"batch of 6 cannot be shared by 4 ranks; .* fit: 1, 2, 3, 6"):
        share_of(range(6), 0, 4)


def test_work_is_shared_by_array_elements_and_ranks():
    array = {"SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_COUNT": "3"}
    shares = [
        work_share({**SRUN, **array, "SLURM_ARRAY_TASK_ID": str(element), "SLURM_PROCID": str(rank)})
        for element in (4, 6, 8)
        for rank in range(4)
    ]
    assert shares == [(number, 12) for number in range(12)]
    assert work_share({}) == (0, 1)
    assert work_share(SRUN) == (2, 4)
    with pytest.raises(UsageError, match="evenly spaced"):
        work_share({**array, "SLURM_ARRAY_TASK_ID": "40"})
