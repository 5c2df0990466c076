"""Which of how many processes this is, read from torchrun's or Slurm's environment, and who does which share.

Pure functions of the environment; torch-free. Ranks come from torchrun, or from an srun *step*; a batch script
without srun is one process, whatever the job was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soracli.core.errors import UsageError

FIRST_SPECIAL_STEP = 0xFFFFFFF0
"""Slurm numbers batch scripts, allocations and other steps that are no srun step from here on."""


@dataclass(frozen=True)
class RankPlace:
    """Place of this process among its peers.

    Attributes:
        rank: From 0 to ``size - 1``.
        size: How many processes work together.
        local_rank: Place among the processes of this machine.
        address: Host that rank 0 runs on.
        port: Port it listens on.
        launcher: ``torchrun``, which already listens there, or ``srun``.
        name: Of these ranks alone, in this turn of their job: what tells them from others at the same port.
    """

    rank: int
    size: int
    local_rank: int
    address: str
    port: int
    launcher: str
    name: str = ""


def rank_place(environ: Mapping[str, str]) -> RankPlace | None:
    """The place that a launcher gave this process; None for a process by itself.

    Raises:
        UsageError: If a launcher's variable is no number or contradicts another; names it.
    """
    if all(environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
        place = RankPlace(
            rank=_number(environ, "RANK"),
            size=_number(environ, "WORLD_SIZE"),
            local_rank=_number(environ, "LOCAL_RANK", "0"),
            address=environ["MASTER_ADDR"],
            port=_number(environ, "MASTER_PORT"),
            launcher="torchrun",
        )
    elif environ.get("SLURM_STEP_ID") and environ.get("SLURM_PROCID"):
        step = _number(environ, "SLURM_STEP_ID")
        if step >= FIRST_SPECIAL_STEP:
            return None
        nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "")
        place = RankPlace(
            rank=_number(environ, "SLURM_PROCID"),
            size=_number(environ, "SLURM_STEP_NUM_TASKS", environ.get("SLURM_NTASKS", "1")),
            local_rank=_number(environ, "SLURM_LOCALID", "0"),
            address=environ.get("MASTER_ADDR") or first_host(nodes) or "127.0.0.1",
            port=_number(environ, "MASTER_PORT", str(slurm_port(_number(environ, "SLURM_JOB_ID", "0"), step))),
            launcher="srun",
            name=f"{environ.get('SLURM_JOB_ID', '0')}.{step}.{environ.get('SLURM_RESTART_COUNT', '0')}",
        )
    else:
        return None
    if not 0 <= place.rank < place.size:
        raise UsageError(f"{place.launcher} says rank {place.rank} of {place.size}: ranks go from 0 to size - 1")
    return place if place.size > 1 else None


def first_host(nodes: str) -> str:
    """First host of Slurm's short form: ``tux[08-11,20],big1`` gives ``tux08``."""
    host, inside, taken = "", False, False
    for letter in nodes:
        if letter == "[":
            inside, taken = True, False
        elif letter == "]":
            inside = False
        elif inside:
            taken = taken or letter in ",-"
            host += "" if taken else letter
        elif letter == ",":
            break
        else:
            host += letter
    return host


def slurm_port(job: int, step: int) -> int:
    """A port every rank of a step works out alike, another one for most other jobs and steps of a node."""
    return 15000 + (job * 16 + step) % 20000


def share_of(indices: Sequence[int], rank: int, size: int) -> list[int]:
    """This rank's part of a global batch; joined in order of rank the parts are the batch.

    Equal parts, so that the mean over ranks of means over samples is the mean over the batch: any number of ranks
    computes what one computes.

    Raises:
        UsageError: If the batch cannot be divided; names the numbers of ranks that fit.
    """
    if len(indices) % size:
        fits = ", ".join(str(number) for number in range(1, len(indices) + 1) if len(indices) % number == 0)
        raise UsageError(
            f"a batch of {len(indices)} cannot be shared by {size} ranks; numbers of ranks that fit: {fits}"
        )
    each = len(indices) // size
    return list(indices[rank * each : (rank + 1) * each])


def sharing_ranks(wanted: int, size: int) -> int:
    """How many ranks hold weights between them.

    Args:
        wanted: By the recipe; 0 is all.
        size: All ranks.

    Raises:
        UsageError: If ranks cannot be divided into groups of so many; names the numbers that fit.
    """
    if wanted and size % wanted:
        fits = ", ".join(str(number) for number in range(1, size + 1) if size % number == 0)
        raise UsageError(
            f"shard_ranks = {wanted} does not divide {size} rank{'s' if size > 1 else ''}; what fits: {fits}, or 0 for "
            "all there are"
        )
    return wanted or size


def rows_of(count: int, num_slices: int, index: int) -> tuple[int, int]:
    """First and last (exclusive) of the rows that one of several ranks holds, as FSDP cuts: the last may have fewer."""
    each = -(-count // num_slices)
    return min(count, index * each), min(count, (index + 1) * each)


def work_share(environ: Mapping[str, str]) -> tuple[int, int]:
    """Number and count of this process among all that do independent pieces of one work, such as caching latents.

    Elements of a Slurm job array and the ranks within each multiply. Piece ``i`` belongs to the process whose number is
    ``i % count``.
    """
    place = rank_place(environ)
    rank, size = (place.rank, place.size) if place else (0, 1)
    if not environ.get("SLURM_ARRAY_TASK_ID"):
        return rank, size
    first, step = _number(environ, "SLURM_ARRAY_TASK_MIN", "0"), _number(environ, "SLURM_ARRAY_TASK_STEP", "1")
    count = _number(environ, "SLURM_ARRAY_TASK_COUNT", "1")
    element = (_number(environ, "SLURM_ARRAY_TASK_ID") - first) // max(1, step)
    if not 0 <= element < count:
        raise UsageError(
            f"a job array that shares work needs evenly spaced elements such as --array=0-7, got element "
            f"{environ['SLURM_ARRAY_TASK_ID']} of {count} from {first}"
        )
    return element * size + rank, count * size


def _number(environ: Mapping[str, str], name: str, default: str = "") -> int:
    text = environ.get(name) or default
    if not text.isdecimal():
        raise UsageError(f"environment variable {name} should be a number, got '{text}'")
    return int(text)
