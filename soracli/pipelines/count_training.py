"""What a training costs, whatever it runs on; and how long, how much and how large on a given cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from soracli.training.ranks import share_of


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Counted from a recipe.

    Attributes:
        parameters: Numbers that learn, by part.
        unit: What samples are measured in: tokens, or pixels.
        units: Of a sample, on average; where samples differ in kind, of that which needs most memory.
        batch: Samples of a step, of that kind.
        shares: What ranks divide among them; a number of ranks must divide it.
        parts: In how many parts a rank walks through its share.
        flops: Operations of a mean step, on all ranks together.
        steps: In all.
        fixed: Bytes on each device, by part, with the number of ranks it was counted for.
        activations: Bytes of a sample.
        products: Shapes of its matrix products, the heavy ones; to measure a machine by.
        half: Whether they are multiplied in bfloat16.
        left_out: What memory comes on top, in words.
    """

    parameters: Mapping[str, int]
    unit: str
    units: float
    batch: float
    shares: int
    parts: int
    flops: float
    steps: int
    fixed: Mapping[str, int]
    activations: float
    products: tuple[tuple[int, int, int], ...]
    half: bool
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Cluster:
    """What a training is to run on.

    Attributes:
        device: Its name.
        ranks: Devices in all, one for each rank.
        rate: Operations a second of one, at most.
        memory: Bytes of one.
        utilisation: Share of the rate that a training gets out of it.
        price: Of a device for an hour; 0 if nobody asks.
    """

    device: str
    ranks: int
    rate: float
    memory: int
    utilisation: float
    price: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """A training on a cluster.

    Attributes:
        cost: What it costs anywhere.
        cluster: Where.
        memory: Bytes on each device, by part.
        fits: Whether that is less than ``USABLE`` of what it has.
        most_samples: Largest number of samples that fits a device at once; 0 if not even one does.
        step_seconds: Of a step.
        days: Of all.
        device_hours: Of all devices together.
        price: Of all that.
    """

    cost: TrainingCost
    cluster: Cluster
    memory: Mapping[str, int]
    fits: bool
    most_samples: int
    step_seconds: float
    days: float
    device_hours: float
    price: float


USABLE = 0.9
"""Share of a device's memory that is planned with; the rest is for what is not counted."""


def plan_cluster(cost: TrainingCost, cluster: Cluster) -> ClusterPlan:
    """Lay a training out on a cluster: every device holds what ``cost`` says, and its share of the batch.

    Raises:
        UsageError: If the batch cannot be shared; names the numbers of ranks that fit.
    """
    share_of(range(cost.shares), 0, cluster.ranks)
    at_once = cost.batch / cluster.ranks / cost.parts
    memory = {**cost.fixed, "activations": round(cost.activations * at_once)}
    usable = USABLE * cluster.memory
    seconds = cost.flops / (cluster.ranks * cluster.rate * cluster.utilisation)
    hours = seconds * cost.steps * cluster.ranks / 3600
    return ClusterPlan(
        cost=cost,
        cluster=cluster,
        memory=memory,
        fits=sum(memory.values()) <= usable,
        most_samples=max(0, math.floor((usable - sum(cost.fixed.values())) / cost.activations)),
        step_seconds=seconds,
        days=seconds * cost.steps / 86400,
        device_hours=hours,
        price=hours * cluster.price,
    )
