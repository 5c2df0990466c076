"""Counted memory against what a whole DiT keeps of a real step, and against the state of an optimiser."""

import pytest
import torch
from torch import Tensor, nn

from soracli.models.dit import DiT
from soracli.models.tokens import Sample, pack_tokens
from soracli.pipelines.dit_memory import count_memory, kept_by_token
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.recipe.load import load_recipe
from soracli.training.ema import build_ema
from soracli.training.optimiser import build_optimiser
from tests.models.tiny import piece

SMALL = ("dit.hidden_size=48", "dit.depth=4", "dit.num_heads=2", "dit.modulation_rank=4")


def recipe_of(*changes: str) -> DitTrainRecipe:
    return load_recipe(DitTrainRecipe, None, [*SMALL, *changes]).recipe


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["checkpoint_activations=true"],
        ["dit.block=diffit", "dit.text=cross", "dit.qk_norm=false"],
    ],
    ids=["kept", "recomputed", "diffit cross"],
)
def test_activations_are_what_a_step_keeps(changes: list[str]) -> None:
    recipe = recipe_of(*changes)
    dit = DiT(recipe.dit, 4, 16)
    dit.checkpoints_activations = recipe.checkpoint_activations

    def kept(copies: int) -> int:
        sample = Sample(torch.tensor([1, 2]), (piece(6, 1, False, t=0.5, size=(8, 8)),))
        tokens = pack_tokens([sample] * copies, (1, 2, 2), (8, 8))
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        handles = [
            block.register_forward_pre_hook(lambda _, inputs: (keep(inputs[0]), None)[1]) for block in dit.blocks
        ]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = dit(tokens, torch.zeros(2 * copies, 16))[0]
        assert found.requires_grad
        for handle in handles:
            handle.remove()
        return sum(sizes.values())

    tokens = 2 * (96 if recipe.dit.text == "cross" else 98)
    counted = count_memory(dit, recipe, tokens, half=False).activations
    found = kept(3) - kept(1)
    if recipe.checkpoint_activations:  # then a block's own are there only while it is walked back
        counted -= round(kept_by_token(recipe.dit, False)[0] * tokens)
    assert counted == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_is_what_a_training_holds(name: str) -> None:
    recipe = recipe_of(f"optimiser.name={name}")
    model = nn.ModuleDict({"dit": DiT(recipe.dit, 4, 16)})
    memory = count_memory(model, recipe, 0, half=False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser = build_optimiser(model.named_parameters(), recipe.optimiser, ("*embed*", "final*"))
    gradients = sum(parameter.grad.nbytes for parameter in model.parameters() if parameter.grad is not None)
    optimiser.step(0, 10, 1.0)
    states = [state for part in optimiser.parts.values() for state in part.state.values()]
    held = sum(value.nbytes for state in states for value in state.values() if value.ndim)
    averaged = sum(parameter.nbytes for parameter in build_ema(model, recipe.loop.ema_decay).module.parameters())
    assert (memory.weights, memory.gradients, memory.optimiser) == (gradients, gradients, held)
    assert memory.average == averaged and memory.activations == 0
    assert memory.total == 3 * gradients + held
    assert count_memory(model, recipe, 0, half=True).weights == 1.5 * gradients
    assert count_memory(model, recipe_of("loop.ema_decay=0"), 0, half=False).average == 0


@pytest.mark.parametrize("ranks", [2, 3, 64])
def test_ranks_hold_rows_and_gather_blocks(ranks: int) -> None:
    """Told again by cutting every weight as FSDP does; a last rank may hold none of a small one."""
    recipe = recipe_of("optimiser.name=muon")
    dit = DiT(recipe.dit, 4, 16)
    weights = dict(dit.named_parameters())
    first = {name: weight.chunk(ranks)[0].nbytes for name, weight in weights.items()}
    whole, held = count_memory(dit, recipe, 9, half=False), count_memory(dit, recipe, 9, half=False, num_slices=ranks)
    assert held.weights == held.gradients == held.average == sum(first.values())
    adamw = build_optimiser(weights.items(), recipe.optimiser, ("*embed*", "final*")).parts["adamw"]
    twice = {id(weight) for group in adamw.param_groups for weight in group["params"]}
    assert held.optimiser == sum(size * (1 + (id(weights[name]) in twice)) for name, size in first.items())
    block = sum(weight.nbytes for weight in dit.blocks[0].parameters())
    outside = whole.weights - len(dit.blocks) * block
    assert (held.activations, held.gathered) == (whole.activations, 4 * block + 2 * outside)
    # Copies in bfloat16 are kept for the way back, or made again with what they are needed for.
    for changes, copies in (((), whole.weights / 2), (("checkpoint_activations=true",), (block + outside) / 2)):
        half = count_memory(dit, recipe_of("optimiser.name=muon", *changes), 9, half=True, num_slices=ranks)
        assert half.weights == held.weights + copies


def test_half_precision_keeps_less() -> None:
    recipe = recipe_of()
    for half, whole in zip(kept_by_token(recipe.dit, True), kept_by_token(recipe.dit, False), strict=True):
        assert 0.4 < half / whole < 0.95
