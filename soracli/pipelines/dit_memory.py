"""Memory that a training of a DiT needs on each device, counted from its own modules.

What autograd keeps is not estimated from a formula: a DiT of one block of the real width is run on a few tokens, and
what it keeps, with and without checkpoints, is added up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from soracli.models.config import DiTConfig
from soracli.models.dit import DiT
from soracli.models.tokens import Piece, Sample, pack_tokens
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.training.optimiser import build_optimiser
from soracli.training.ranks import rows_of

_FEW, _MORE = 4, 8
"""Tokens of one latent frame: what does not grow from one to the other is weights and conditions. Few, for some CPUs
keep scores of attention, which GPUs do not."""
_TEXT_WIDTH = 8


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """Bytes on one device.

    Attributes:
        weights: Float32, and their copies in bfloat16 where matrices are multiplied in it. If ranks hold weights
            between them, the copies are whole all the same, but if activations are computed again one block's.
        gradients: Float32.
        optimiser: One average of each number that Muon trains, two of each that AdamW trains.
        average: The moving average of the weights.
        activations: What the way back needs of the DiT at the stated tokens, if all were to be predicted. Scores of
            attention are not among it: fused attention keeps none.
        teacher: The model that is distilled, if one is; every rank has all of it.
        gathered: If ranks hold weights between them: what is whole at a time.
    """

    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int
    teacher: int = 0
    gathered: int = 0

    @property
    def total(self) -> int:
        """All of it; what the allocator, the text encoder's activations and libraries take comes on top."""
        return sum(asdict(self).values())


def count_memory(
    model: nn.Module, recipe: DitTrainRecipe, tokens: float, *, half: bool, num_slices: int = 1
) -> TrainingMemory:
    """Count what a training needs.

    Args:
        model: The DiT with its text encoder; may be on the meta device.
        recipe: Which optimiser, whether activations are kept.
        tokens: In one device's sequence; without joint text those of video.
        half: Whether matrices are multiplied in bfloat16.
        num_slices: Ranks that hold weights, gradients, averages and the optimiser's state between them.
    """
    whole = sum(parameter.numel() for parameter in model.parameters())
    count = _held(model.parameters(), num_slices)
    parts = build_optimiser(model.named_parameters(), recipe.optimiser, ("*embed*", "final*")).parts
    trained = {
        name: sum(_held(group["params"], num_slices) for group in part.param_groups) for name, part in parts.items()
    }
    config = recipe.dit
    of_block, outside = kept_by_token(config, half)
    inputs = 4 * config.hidden_size * config.depth  # float32
    a_token = outside + (inputs + of_block if recipe.checkpoint_activations else of_block * config.depth)
    block, outside_blocks = _units(model)
    copied = block + outside_blocks if num_slices > 1 and recipe.checkpoint_activations else whole
    return TrainingMemory(
        weights=4 * count + (2 * copied if half else 0),
        gradients=4 * count,
        optimiser=4 * trained.get("muon", 0) + 8 * trained.get("adamw", 0),
        average=4 * count if recipe.loop.ema_decay else 0,
        activations=round(a_token * tokens),
        teacher=4 * whole if recipe.teacher_passes else 0,
        # A block with the next one, its gradients and what of them travels; and all the time what is in no block.
        gathered=4 * (4 * block + 2 * outside_blocks) if num_slices > 1 else 0,
    )


def _held(weights: Iterable[Tensor], num_slices: int) -> int:
    """Numbers of weights in the rows of the first of several ranks."""
    return sum(rows_of(len(weight), num_slices, 0)[1] * weight[:1].numel() for weight in weights)


def _units(model: nn.Module) -> tuple[int, int]:
    """Numbers of the DiT's largest block, and of what is in none."""
    dit = next(module for module in model.modules() if isinstance(module, DiT))
    blocks = [sum(weight.numel() for weight in block.parameters()) for block in dit.blocks]
    return max(blocks), sum(weight.numel() for weight in dit.parameters()) - sum(blocks)


def kept_by_token(config: DiTConfig, half: bool) -> tuple[float, float]:
    """Bytes that autograd keeps of a token in one block, and outside of all blocks.

    Args:
        config: Of the DiT.
        half: As ``count_memory``.
    """
    with torch.device("meta"):
        dit = DiT(config.model_copy(update={"depth": 1, "patch_size": (1, 1, 1)}), _TEXT_WIDTH, _TEXT_WIDTH)
    dit.to_empty(device="cpu")
    for number in (*dit.parameters(), *dit.buffers()):
        nn.init.zeros_(number)
    whole, outside = (
        (_kept(dit, _MORE, half, checkpoints) - _kept(dit, _FEW, half, checkpoints)) / (_MORE - _FEW)
        for checkpoints in (False, True)
    )
    return whole - outside, outside


def _kept(dit: DiT, count: int, half: bool, checkpoints: bool) -> int:
    """Bytes of all storages that autograd keeps of a picture of so many tokens, without the inputs of checkpoints."""
    dit.checkpoints_activations = checkpoints
    nothing = torch.zeros(_TEXT_WIDTH, 1, 1, count)
    piece = Piece(nothing, torch.zeros(1), torch.ones(1, dtype=torch.bool), torch.ones(1), block=1, clean=False)
    tokens = pack_tokens([Sample(torch.zeros(1, dtype=torch.int64), (piece,))], (1, 1, 1), (8, 8))
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        velocities = dit(tokens, torch.zeros(1, _TEXT_WIDTH))[0]
    del velocities  # alive until here, so that no storage is counted under another's address
    return sum(sizes.values())
