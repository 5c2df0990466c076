"""Weights that ranks hold between them, each some rows of every tensor: torch's ``fully_shard`` (FSDP2).

A unit (a block, or all that is in none) is gathered whole just before it is computed, forward and back, and let go
after it; its gradients are averaged over all ranks as soon as they are there, and each rank keeps those of its rows.
The optimiser and the averages of the weights then work on rows. If fewer than all ranks hold the weights, the other
groups of as many are replicas (HSDP): rows travel within a group, and gradients between groups besides.

On every rank the same weights must have gradients at a step, or the ranks would wait for each other: layers may see
other samples, but none may be left out for what a rank's samples are like.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate, Shard

from soracli.training.checkpoint_slices import Join, joined
from soracli.training.distributed import World
from soracli.training.ranks import rows_of, sharing_ranks


@dataclass(frozen=True)
class Sharding:
    """Who holds what.

    Attributes:
        world: All ranks.
        mesh: The ranks by what they hold, ``(shard,)`` or ``(replica, shard)``.
    """

    world: World
    mesh: DeviceMesh

    @property
    def num_slices(self) -> int:
        """How many ranks hold everything between them."""
        return self.mesh.size(self.mesh.ndim - 1)

    @property
    def own_slice(self) -> int:
        """Which rows this rank holds, from 0."""
        return self.world.rank % self.num_slices

    @property
    def replica(self) -> int:
        """Which group of ranks that hold everything this one is in, from 0."""
        return self.world.rank // self.num_slices

    def own_rows(self, plain: Collection[str] = ()) -> Join:
        """What this rank reads of a checkpoint: its rows, as tensors that are held between ranks.

        Args:
            plain: Names of tensors that every rank has whole, such as buffers; what has no rows is whole anyway.
        """

        def join(name: str, files: Sequence[Any]) -> Tensor:
            slices = [file.get_slice(name) for file in files]
            shape = slices[0].get_shape()
            if name in plain or not shape:
                return joined(name, files)
            lengths = [part.get_shape()[0] for part in slices]
            first, last = rows_of(sum(lengths), self.num_slices, self.own_slice)
            rows, before = [], 0
            for part, length in zip(slices, lengths, strict=True):
                rows.append(part[min(max(first - before, 0), length) : min(max(last - before, 0), length)])
                before += length
            return self.from_rows(torch.cat(rows), before)

        return join

    def from_rows(self, rows: Tensor, count: int) -> DTensor:
        """A tensor of ``count`` rows of which this rank holds some."""
        shape = torch.Size((count, *rows.shape[1:]))
        placements = [Replicate()] * (self.mesh.ndim - 1) + [Shard(0)]
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(rows, self.mesh, placements, run_check=False, shape=shape, stride=stride)


def open_sharding(world: World, shard_ranks: int) -> Sharding | None:
    """Who holds what; None if every rank holds everything.

    Args:
        world: All ranks call this together.
        shard_ranks: As ``sharing_ranks``.

    Raises:
        UsageError: As ``sharing_ranks``.
    """
    num_slices = sharing_ranks(shard_ranks, world.size)
    if num_slices == 1:
        return None
    ranks = torch.arange(world.size).view(-1, num_slices)
    if len(ranks) == 1:
        return Sharding(world, DeviceMesh(world.device.type, ranks[0], mesh_dim_names=("shard",)))
    return Sharding(world, DeviceMesh(world.device.type, ranks, mesh_dim_names=("replica", "shard")))


def shard(units: Iterable[nn.Module], sharding: Sharding, entrances: Sequence[str] = ()) -> None:
    """Leave each rank its rows of what modules hold, on its device.

    Args:
        units: What is gathered and computed together; modules inside others come before them. Each is entered by being
            called, never by the methods of a part of it.
        sharding: Who holds what.
        entrances: Names of methods by which a unit that has them is entered, too.
    """
    # Blocks leave keys that are views; nothing here is changed in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for unit in units:
        fully_shard(unit, mesh=sharding.mesh, reshard_after_forward=True)
        for name in entrances:
            if hasattr(unit, name):
                register_fsdp_forward_method(unit, name)


def empty_copy(module: nn.Module) -> nn.Module:
    """A copy whose weights have shapes but no memory; to be made before ``shard``."""
    weights: dict[int, Any] = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
        for weight in module.parameters()
    }
    return copy.deepcopy(module, weights)


@torch.no_grad()
def gather_module(module: nn.Module, empty: nn.Module, sharding: Sharding) -> nn.Module | None:
    """What ranks hold between them, whole, as a module by itself on rank 0, in eval mode; None on others.

    Args:
        module: After ``shard``.
        empty: Its ``empty_copy``.
        sharding: Who holds what; all ranks call this together.
    """
    if sharding.replica:
        return None
    whole: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        gathered = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()
        if sharding.world.is_main:
            whole[name] = gathered
    if not sharding.world.is_main:
        return None
    alone = copy.deepcopy(empty)
    alone.load_state_dict(whole, assign=True)
    return alone.to(sharding.world.device).requires_grad_(False).eval()


def local_of(tensor: Tensor) -> Tensor:
    """The rows of a tensor that this rank holds: of a plain one all of it; memory is shared."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
