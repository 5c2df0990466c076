"""Several processes that train as one: opening the group, averaging, agreeing.

Gradients are averaged by a plain all-reduce after the backward pass, not by a wrapper around the module: the model
stays itself (any method may be called, accumulation needs no special context, names have no prefix), at the price of
not hiding the transfer behind the backward pass. A model that ranks hold between them (``soracli.training.sharding``)
averages its gradients itself. Between ranks travel tensors and JSON, never pickles.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor

from soracli.core.errors import MachineError
from soracli.training import ranks
from soracli.training.device import choose_device
from soracli.training.last_words import LastWords, error_of_rank, is_broken_transfer, name_for_others
from soracli.training.rendezvous import meeting

BUCKET_BYTES = 25 * 2**20
"""Gradients are joined up to this size per transfer: few messages, little extra memory."""


@dataclass(frozen=True)
class World:
    """The processes that work together, and this one among them.

    Attributes:
        rank: From 0 to ``size - 1``.
        size: How many there are; 1 for a process by itself, for which every function here is free.
        local_rank: Place on this machine.
        device: Where this process computes.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the one that writes files and talks to people."""
        return self.rank == 0


@contextmanager
def open_world(
    device: str = "auto", timeout_seconds: float = 600.0, environ: Mapping[str, str] = os.environ
) -> Iterator[World]:
    """Join the other ranks if a launcher started some; leave in order.

    Args:
        device: As ``--device``; with several GPUs each rank takes its own.
        timeout_seconds: How long a rank waits for the others before it gives up.
        environ: Environment to read ranks from.

    Raises:
        MachineError: If the others cannot be reached, or there is no such device; if another rank dies or hangs,
            naming it.
        SoraError: What another rank failed with, with its class.
        UsageError: If a launcher's variables make no sense.
    """
    place = ranks.rank_place(environ)
    if place is None:
        yield World(0, 1, 0, choose_device(device))
        return
    chosen = choose_device(device, place.local_rank)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    limit = datetime.timedelta(seconds=timeout_seconds)
    with ExitStack() as stack:
        try:
            if place.launcher == "torchrun":
                # torchrun's agent already listens at the address, which only env:// knows how to join
                store, _, _ = next(rendezvous("env://", place.rank, place.size, timeout=limit))
            else:
                store = stack.enter_context(meeting(place, limit))
            words = LastWords(store, place.rank, place.size)
            dist.init_process_group(
                backend="cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo",
                store=dist.PrefixStore("ranks", store),  # type: ignore[attr-defined]
                rank=place.rank,
                world_size=place.size,
                timeout=limit,
            )
            words.learn_places()
        except (dist.DistError, RuntimeError, ValueError, OSError) as error:
            raise MachineError(
                f"rank {place.rank} of {place.size} cannot reach the others at {place.address}:{place.port} "
                f"({str(error).splitlines()[0]}); were all of them started, and is the port free?"
            ) from error
        try:
            yield World(place.rank, place.size, place.local_rank, chosen)
            dist.barrier()  # nobody takes the group away while another still uses it
        except BaseException as error:
            words.leave(error)
            dist.destroy_process_group()  # now the others notice too, and say so
            told = words.cause(error) if is_broken_transfer(error) else error
            if not isinstance(error, KeyboardInterrupt):
                words.wait_for_readers()
            if told is error:
                raise
            raise told from error
        dist.destroy_process_group()


def barrier(world: World) -> None:
    """Wait for all ranks."""
    if world.size > 1:
        dist.barrier()


def share_of(indices: Sequence[int], world: World) -> list[int]:
    """This rank's equal part of a global batch, in order of rank; see ``ranks.share_of``.

    Raises:
        UsageError: If the batch cannot be divided; names the numbers of ranks that fit.
    """
    return ranks.share_of(indices, world.rank, world.size)


def all_mean(values: Sequence[float], world: World) -> list[float]:
    """Mean over ranks of each number, the same on every rank; NaN on one rank is NaN everywhere."""
    if world.size == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total)
    means: list[float] = (total / world.size).tolist()
    return means


def gather_rows(rows: Tensor, world: World) -> Tensor:
    """The rows ``(B, ...)`` of every rank, one after another in order of rank; only this rank's have a gradient.

    A function of all rows has the gradient it should if every rank computes it and the ranks' gradients are summed.

    Args:
        rows: As many on every rank.
        world: All ranks call this together.
    """
    if world.size == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world.size)]
    dist.all_gather(parts, rows.detach().contiguous())
    parts[world.rank] = rows
    return torch.cat(parts)


def agree_on_stop(level: int, world: World) -> int:
    """The highest stop level (``signals.StopFlag.level``) of all ranks, so that all stop after the same step."""
    if world.size == 1:
        return level
    highest = torch.tensor([level])
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    return int(highest)


def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace gradients by their mean over ranks, but for those that were averaged on the way back (FSDP).

    A parameter with a gradient on some ranks only counts as 0 on the others; one without any gradient keeps none.
    Where ranks' losses are means over unequal shares, each is scaled by its share before the way back.

    Args:
        parameters: The same ones in the same order on every rank.
        world: All ranks call this together.
    """
    trained = [each for each in parameters if each.requires_grad and not isinstance(each, DTensor)]
    if world.size == 1 or not trained:
        return
    # One small message says which gradients exist anywhere.
    present = torch.tensor([float(parameter.grad is not None) for parameter in trained])
    dist.all_reduce(present)
    gradients: list[Tensor] = []
    for parameter, anywhere in zip(trained, present.tolist(), strict=True):
        if anywhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        joined = torch.cat([gradient.reshape(-1) for gradient in bucket]).mul_(1 / world.size)
        dist.all_reduce(joined)
        for gradient, mean in zip(bucket, torch.split(joined, [gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def broadcast_module(module: nn.Module, world: World) -> None:
    """Give every rank the weights and buffers of rank 0."""
    if world.size > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def on_main(function: Callable[[], Any], world: World) -> Any:
    """Do something on rank 0 only; the others wait for its result, or fail with its error.

    So a busy folder or a full disk, which only rank 0 meets, ends every rank with the same message and none hangs.

    Args:
        function: Gives a JSON value.
        world: All ranks call this together.

    Returns:
        The value, on every rank.

    Raises:
        SoraError: What rank 0 raised, with its class; another exception of rank 0 arrives elsewhere as SoraError.
    """
    if world.size == 1:
        return function()
    failure: BaseException | None = None
    answer: dict[str, Any] = {}
    if world.is_main:
        try:
            answer = {"value": function()}
        except Exception as error:  # whatever it is, the other ranks must hear of it
            failure = error
            answer = {"error": name_for_others(error), "message": str(error)}
    answer = _broadcast_json(answer)
    if failure is not None:
        raise failure
    if "error" in answer:
        raise error_of_rank(0, answer["error"], answer["message"])
    return answer["value"]


def on_all(function: Callable[[], Any], world: World) -> list[Any]:
    """Do something on every rank; each hears what all of them gave, or all fail with the first one's error.

    Args:
        function: Gives a JSON value.
        world: All ranks call this together.

    Returns:
        The values in order of rank.

    Raises:
        SoraError: What a rank raised, as ``on_main``.
    """
    failure: BaseException | None = None
    try:
        answer = {"value": function()}
    except Exception as error:  # whatever it is, the other ranks must hear of it
        failure = error
        answer = {"error": name_for_others(error), "message": str(error)}
    answers = _gather_json(answer, world)
    if failure is not None:
        raise failure
    for rank, other in enumerate(answers):
        if "error" in other:
            raise error_of_rank(rank, other["error"], other["message"])
    return [each["value"] for each in answers]


def _broadcast_json(value: Any) -> Any:
    data = _bytes_of(value)
    length = torch.tensor([data.numel()])
    dist.broadcast(length, src=0)
    if dist.get_rank() != 0:
        data = torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(data, src=0)
    return json.loads(bytes(data.tolist()))


def _gather_json(value: Any, world: World) -> list[Any]:
    if world.size == 1:
        return [value]
    data = _bytes_of(value)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(world.size)]
    dist.all_gather(lengths, torch.tensor([data.numel()]))
    longest = int(torch.cat(lengths).max())
    texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(world.size)]
    dist.all_gather(texts, torch.cat([data, data.new_zeros(longest - len(data))]))
    return [json.loads(bytes(text[: int(length)].tolist())) for text, length in zip(texts, lengths, strict=True)]


def _bytes_of(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type and device, up to ``BUCKET_BYTES`` together."""
    for _, run in groupby(tensors, key=lambda tensor: (tensor.dtype, tensor.device)):
        bucket: list[Tensor] = []
        for tensor in run:
            if bucket and sum(other.nbytes for other in bucket) + tensor.nbytes > BUCKET_BYTES:
                yield bucket
                bucket = []
            bucket.append(tensor)
        yield bucket
