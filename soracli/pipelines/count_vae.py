"""What a training of a VAE costs: operations counted on tensors without numbers, memory on a piece of a sample."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from soracli.data.config import FrameShape
from soracli.models.config import with_quantiser
from soracli.models.discriminator import PatchDiscriminator
from soracli.models.quantised_vae import QuantisedVAE, build_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.count_training import TrainingCost
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.training.optimiser import build_optimiser
from soracli.training.utilisation import Operations

_HEAVIEST = 8


def count_vae(recipe: VaeTrainRecipe, *, half: bool) -> TrainingCost:
    """Count.

    Args:
        recipe: The training's.
        half: Whether matrices are multiplied in bfloat16.
    """
    with torch.device("meta"):
        vae = build_vae(with_quantiser(recipe.vae, recipe.quantiser))
        critic = PatchDiscriminator(recipe.discriminator) if recipe.adversary.weight else None
    flops = 0.0
    products: dict[tuple[int, int, int], int] = {}
    for shape, steps in _steps_of_shapes(recipe):
        operations = _operations(vae, critic, shape)
        flops += operations.total * shape.batch_size * steps / recipe.loop.steps
        products |= {
            (m * shape.batch_size, k, n): m * k * n * count for (m, k, n), count in operations.products.items()
        }
    by_shape = {shape: _activations(recipe, shape, half) for shape, _ in _steps_of_shapes(recipe)}
    largest = max(by_shape, key=lambda shape: by_shape[shape] * shape.batch_size)
    parts: dict[str, nn.Module] = {"vae": vae} | ({} if critic is None else {"discriminator": critic})
    count = sum(_numbers(part) for part in parts.values())
    state = 0
    for part, config in zip(parts.values(), (recipe.optimiser, recipe.discriminator_optimiser), strict=False):
        for name, optimiser in build_optimiser(part.named_parameters(), config).parts.items():
            trained = sum(weight.numel() for group in optimiser.param_groups for weight in group["params"])
            state += (4 if name == "muon" else 8) * trained
    fixed = {"weights": (6 if half else 4) * count, "gradients": 4 * count, "optimiser": state}
    fixed |= {"average": 4 * _numbers(vae)} if recipe.loop.ema_decay else {}
    left_out = ["what libraries and allocators take"]
    left_out += ["the network of the perceptual distance"] if recipe.perceptual.weight else []
    return TrainingCost(
        parameters={name: _numbers(part) for name, part in parts.items()},
        unit="pixels",
        units=float(largest.num_frames * largest.crop**2),
        batch=float(largest.batch_size),
        shares=math.gcd(*(shape.batch_size for shape in by_shape)),
        parts=1,
        flops=flops,
        steps=recipe.loop.steps,
        fixed=fixed,
        activations=by_shape[largest],
        products=tuple(sorted(products, key=lambda shape: products[shape])[-_HEAVIEST:]),
        half=half,
        left_out=tuple(left_out),
    )


def _steps_of_shapes(recipe: VaeTrainRecipe) -> list[tuple[FrameShape, float]]:
    """How many steps each shape gets, on average."""
    shapes, last = recipe.frames.shapes, recipe.loop.steps
    turns = {0, last} | {turn for shape in shapes for turn in (shape.from_step, shape.until_step) if 0 < turn < last}
    steps = dict.fromkeys(shapes, 0.0)
    for begin, end in pairwise(sorted(turns)):
        due = [shape for shape in shapes if shape.is_due(begin)]
        for shape in due:
            steps[shape] += (end - begin) * shape.weight / sum(other.weight for other in due)
    return [(shape, count) for shape, count in steps.items() if count]


def _operations(vae: VideoVAE, critic: PatchDiscriminator | None, shape: FrameShape) -> Operations:
    """Of one sample, forward and back; of the game what fools the discriminator and what teaches it."""
    with Operations() as operations:
        frames = torch.zeros(1, 3, shape.num_frames, shape.crop, shape.crop, device="meta")
        decoded = _pass(vae, frames)
        decoded.sum().backward()
        if critic is not None:
            shown = decoded.detach().requires_grad_()
            critic(shown).sum().backward()
            (critic(frames).sum() + critic(shown.detach()).sum()).backward()
    return operations


def _pass(vae: VideoVAE, frames: Tensor) -> Tensor:
    if isinstance(vae, QuantisedVAE):
        return vae.decode(vae.encode_values(frames)[0])[0]
    return vae.decode(vae.encode(frames)[0])[0]


def _activations(recipe: VaeTrainRecipe, shape: FrameShape, half: bool) -> float:
    """Bytes that the way back needs of one sample.

    What is kept grows with latent frames and with the area, so two lengths of a small crop tell it. Of the batch one
    sample less than two, which leaves weights out.
    """
    vae = build_vae(with_quantiser(recipe.vae, recipe.quantiser))
    critic = PatchDiscriminator(recipe.discriminator) if recipe.adversary.weight else None
    time, side, _ = vae.config.compression
    side = min(shape.crop, max(2 * side, 32) // side * side)

    def kept(latent_frames: int) -> float:
        frames = 1 + (latent_frames - 1) * time
        return _kept(vae, critic, 2, frames, side, half) - _kept(vae, critic, 1, frames, side, half)

    wanted = 1 + (shape.num_frames - 1) // time
    first, second = kept(1), kept(2) if wanted > 1 else 0.0
    more = second - first if wanted > 1 else 0.0
    return (first + more * (wanted - 1)) * (shape.crop / side) ** 2


def _kept(vae: VideoVAE, critic: PatchDiscriminator | None, batch: int, num_frames: int, side: int, half: bool) -> int:
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        frames = torch.zeros(batch, 3, num_frames, side, side)
        decoded = _pass(vae, frames)
        told = None if critic is None else critic(decoded)
    del told  # alive until here, so that no storage is counted under another's address
    return sum(sizes.values())


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
