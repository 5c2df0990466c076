"""A toy model and its loop, built from the parts of soracli.training the way a pipeline does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from soracli.training.checkpoint import load_latest, load_module, save_checkpoint
from soracli.training.config import OptimiserConfig
from soracli.training.distributed import World, all_mean, average_gradients, share_of
from soracli.training.ema import build_ema, ema_tensors, load_ema
from soracli.training.optimiser import build_optimiser
from soracli.training.optimiser_state import flatten_optimiser, unflatten_optimiser
from soracli.training.seeding import batch_indices, generator_for, seed_global

ALONE = World(0, 1, 0, torch.device("cpu"))
SEED, NUM_SAMPLES, BATCH_SIZE = 3, 10, 4


class Toy(nn.Module):
    """An embedding, a hidden matrix, a kernel, gains and a final layer: every kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Linear(6, 8)
        self.kernel = nn.Conv1d(8, 8, 3, padding=1)
        self.hidden = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(0.1)
        self.final = nn.Linear(8, 6)
        self.unused = nn.Linear(2, 2)

    def forward(self, samples: Tensor) -> Tensor:
        inside = self.kernel(self.patch_embed(samples)[..., None])[..., 0]
        return self.final(self.norm(self.dropout(torch.tanh(self.hidden(inside)))))


def build_toy() -> Toy:
    seed_global(SEED, "weights")
    return Toy()


def train_toy(
    folder: Path | None,
    until: int,
    optimiser_name: str = "adamw",
    world: World = ALONE,
    dropout: bool = True,
    on_step: Callable[[int], None] = lambda step: None,
) -> tuple[dict[str, Tensor], list[float]]:
    """Train to ``until`` of 12 steps, resuming from ``folder`` if it has a checkpoint, and save there at the end."""
    config = OptimiserConfig(name=optimiser_name, learning_rate=0.02, warmup_steps=2, weight_decay=0.1)  # type: ignore[arg-type]
    model = build_toy().train(dropout)
    optimiser = build_optimiser(model.named_parameters(), config)
    ema = build_ema(model, 0.9)
    start, losses = 0, []
    found = load_latest(folder) if folder else None
    if found:
        load_module(model, found.parts["model"], "the model")
        load_ema(ema, found.parts["ema"], found.state["ema_updates"])
        unflatten_optimiser(optimiser, found.parts["optimiser"], found.state["optimiser"])
        start, losses = found.step, found.state["losses"]
    for step in range(start, until):
        indices = share_of(batch_indices(SEED, NUM_SAMPLES, BATCH_SIZE, step), world)
        seed_global(SEED, "dropout", step)
        samples = torch.stack([torch.randn(6, generator=generator_for(SEED, "sample", index)) for index in indices])
        loss = (model(samples) - samples.flip(1)).pow(2).mean()
        loss.backward()
        average_gradients(model.parameters(), world)
        [mean_loss] = all_mean([float(loss.detach())], world)
        optimiser.step(step, 12, mean_loss)
        ema.update_parameters(model)
        losses.append(mean_loss)
        on_step(step)
    tensors, record = flatten_optimiser(optimiser)
    parts = {"model": model.state_dict(), "ema": ema_tensors(ema), "optimiser": tensors}
    if folder and world.is_main:
        state = {"optimiser": record, "ema_updates": int(ema.n_averaged), "losses": losses}
        save_checkpoint(folder, until, parts, state)
    everything = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    return everything, losses
