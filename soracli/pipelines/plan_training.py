"""``sora plan``: parameters, work, memory, days and cost of a recipe on a given cluster, without running it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from soracli.core.errors import UsageError
from soracli.data.latents import LatentCache
from soracli.models.store import load_vae
from soracli.pipelines.count_dit import cached_samples, count_dit, made_up_samples
from soracli.pipelines.count_training import Cluster, TrainingCost
from soracli.pipelines.count_vae import count_vae
from soracli.pipelines.find_model import find_vae
from soracli.pipelines.recipes import DitTrainRecipe, VaeTrainRecipe
from soracli.recipe.find import find_recipe, list_recipes
from soracli.recipe.load import load_recipe
from soracli.recipe.section import Section
from soracli.training.config import Precision
from soracli.training.device import product_dtype
from soracli.training.gpus import find_gpu
from soracli.training.utilisation import product_rate

_TEXT = 64
CPU = "cpu"
"""What names this machine's processor."""


def count_training(
    recipe: Section,
    gpu: str,
    *,
    latents: Path | None = None,
    size: tuple[int, int] | None = None,
    vae: str | None = None,
    ranks: int = 1,
) -> TrainingCost:
    """Count what a recipe costs.

    Args:
        recipe: Of a DiT or a VAE.
        gpu: What it is to run on: it decides in which numbers matrices are multiplied.
        latents: For a DiT: a cache whose samples it is counted on. None: samples of the recipe's lengths at ``size``.
        size: Height and width of videos, pixels; None: 128x128.
        vae: What makes their latents: a VAE, or a recipe of one; None: the shipped one.
        ranks: How many there will be: some may hold a DiT between them.

    Raises:
        UsageError: If the recipe is of another kind, what is given is not for it, or ranks cannot be divided.
        SoraError: If a cache or a VAE cannot be used.
    """
    if isinstance(recipe, VaeTrainRecipe):
        if latents is not None or size is not None or vae is not None:
            raise UsageError("--latents, --size and --vae are for recipes of a DiT; those of a VAE state their frames")
        return count_vae(recipe, half=_is_half(recipe.loop.precision, gpu))
    if not isinstance(recipe, DitTrainRecipe):
        kind = getattr(recipe, "kind", "a recipe of this kind")
        raise UsageError(f"sora plan counts vae.train, dit.train and dit.distill, not {kind}: see its --dry-run")
    half = _is_half(recipe.loop.precision, gpu)
    if latents is not None:
        if size is not None or vae is not None:
            raise UsageError("--latents says what samples are like: leave --size and --vae away")
        cache = LatentCache(latents)
        draw = cached_samples(recipe, cache)
        return count_dit(recipe, draw, cache.spec.channels, cache.spec.compression, half=half, ranks=ranks)
    channels, compression = _latents_of(vae)
    height, width = size or (128, 128)
    unit = [compression[axis] * recipe.dit.patch_size[axis] for axis in (1, 2)]
    if height % unit[0] or width % unit[1]:
        near = [max(1, round(side / each)) * each for side, each in ((height, unit[0]), (width, unit[1]))]
        raise UsageError(f"--size {width}x{height} does not fit VAE and patches; the nearest is {near[1]}x{near[0]}")
    area = (height // compression[1], width // compression[2])
    draw = made_up_samples(recipe, channels, area, min(_TEXT, recipe.text.max_tokens))
    return count_dit(recipe, draw, channels, compression, half=half, ranks=ranks)


def open_cluster(
    cost: TrainingCost, gpu: str, *, nodes: int, gpus: int, utilisation: float, price: float = 0.0
) -> Cluster:
    """What a cluster can do.

    Args:
        cost: What is to run on it: the rate of this machine is measured by its own products.
        gpu: A name of ``soracli.training.gpus``, or ``cpu``.
        nodes: Machines.
        gpus: Of each, with a rank for each.
        utilisation: Share of its rate that a training gets out of a device.
        price: Of a device for an hour.

    Raises:
        UsageError: If there is no such GPU.
    """
    if gpu == CPU:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        dtype = torch.bfloat16 if cost.half else torch.float32
        rate = product_rate(dict.fromkeys(cost.products, 1), dtype, torch.device("cpu"))
        return Cluster(
            f"this machine's processor, {torch.get_num_threads()} threads", 1, rate, memory, utilisation, price
        )
    kind = find_gpu(gpu)
    return Cluster(kind.name, nodes * gpus, kind.rate, kind.memory, utilisation, price)


def _is_half(precision: Precision, gpu: str) -> bool:
    if gpu == CPU:
        return product_dtype(precision, torch.device("cpu")) == torch.bfloat16
    return precision != "float32"


def _latents_of(vae: str | None) -> tuple[int, tuple[int, int, int]]:
    """Channels and compression of a VAE, or of one that a recipe would make."""
    if vae is not None and (vae.endswith(".toml") or vae in list_recipes()):
        config = load_recipe(VaeTrainRecipe, find_recipe(vae)).recipe.vae
        return config.latent_channels, config.compression
    spec = load_vae(find_vae(vae or "nano"))[1]
    return spec.channels, spec.compression
