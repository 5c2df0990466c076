"""Something done to whole matrices of which ranks hold rows: each matrix on one rank, all matrices at once.

Axes: m rows and n columns of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from soracli.training.ranks import rows_of


def each_on_one_rank(
    function: Callable[[Tensor], Tensor], rows: Sequence[Tensor], shapes: Sequence[Sequence[int]], mesh: DeviceMesh
) -> list[Tensor]:
    """Rows of ``function(matrix)`` for matrices that ranks hold between them.

    Every matrix is brought together on one rank, which alone computes, and its rows go back. With N ranks each does
    about 1/N of the work, and in each of the two transfers sends and receives as many numbers as it holds.

    Args:
        function: Of a matrix ``(m, n)``, to another of its shape.
        rows: This rank's of each matrix, at least one; the same matrices in the same order on all ranks.
        shapes: ``(m, n)`` of each.
        mesh: All ranks of it call this together; those along its last axis hold the rows.
    """
    axis = mesh.ndim - 1
    group, num_slices, index = mesh.get_group(axis), mesh.size(axis), mesh.get_local_rank(axis)
    owner = _owners(shapes, num_slices)
    owned = [[number for number, one in enumerate(owner) if one == rank] for rank in range(num_slices)]
    mine = owned[index]
    held = [[rows_of(shape[0], num_slices, rank) for rank in range(num_slices)] for shape in shapes]
    counts = [[(last - first) * shape[1] for first, last in ends] for ends, shape in zip(held, shapes, strict=True)]

    sent = [sum(counts[number][index] for number in numbers) for numbers in owned]  # to each rank
    received = [sum(counts[number][rank] for number in mine) for rank in range(num_slices)]  # from each rank
    outgoing = _joined([rows[number] for numbers in owned for number in numbers])
    incoming = outgoing.new_empty(sum(received))
    dist.all_to_all_single(incoming, outgoing, received, sent, group=group)

    parts = incoming.split([counts[number][rank] for rank in range(num_slices) for number in mine])
    done = []
    for place, number in enumerate(mine):
        matrix = torch.cat(parts[place :: len(mine)]).view(*shapes[number])  # (m, n)
        done.append(function(matrix))
    back = [done[place][slice(*held[n][rank])] for rank in range(num_slices) for place, n in enumerate(mine)]
    back_together = _joined(back) if back else incoming  # a rank may own none
    dist.all_to_all_single(outgoing, back_together, sent, received, group=group)
    order = [number for numbers in owned for number in numbers]
    found = dict(zip(order, outgoing.split([counts[number][index] for number in order]), strict=True))
    return [found[number].view_as(own) for number, own in enumerate(rows)]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def _owners(shapes: Sequence[Sequence[int]], ranks: int) -> list[int]:
    """Who computes each matrix: the costliest first, each by the rank with least to do."""
    costs = [height * width * min(height, width) for height, width in shapes]
    loads, owner = [0] * ranks, [0] * len(costs)
    for number in sorted(range(len(costs)), key=lambda number: (-costs[number], number)):
        owner[number] = loads.index(min(loads))
        loads[owner[number]] += costs[number]
    return owner
