"""Tiny trainings: their recipes, a reporter that stops them, and what they left behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from soracli.core.progress import SilentReporter, Task
from soracli.data.latents import write_index, write_shard
from soracli.models.store import load_vae, save_vae
from soracli.pipelines.recipes import DitDistillRecipe, DitTrainRecipe, VaeTrainRecipe
from soracli.recipe.load import Loaded, load_recipe
from tests.models.tiny import tiny_vae

LOOP = ("loop.steps=6", "loop.save_every=2", "loop.log_every=1", "loop.num_threads=1", "loop.ema_decay=0.9")
OPTIMISER = ("optimiser.warmup_steps=2", "optimiser.learning_rate=0.003")
VAE = (
    "vae.latent_channels=4", "vae.patch_size=2", "vae.widths=[4, 6, 8]", "vae.encoder_blocks=[1, 1, 1]",
    "vae.decoder_blocks=[1, 1, 1]", "frames.height=32", "frames.width=32", "frames.world_scenes=3",
    "frames.shapes=[{num_frames = 1, crop = 16, batch_size = 8, until_step = 1}, "
    "{num_frames = 5, crop = 16, batch_size = 2, weight = 3.0, from_step = 1}, "
    "{num_frames = 1, crop = 16, batch_size = 8, from_step = 1}]", *LOOP, *OPTIMISER,
)  # fmt: skip
GAME = (
    "adversary.weight=0.5", "adversary.start=2", "adversary.r1=1.0", "adversary.r1_every=2", "adversary.lecam=0.1",
    "discriminator.widths=[4, 6]", "discriminator.temporal_strides=[2]", "discriminator_optimiser.warmup_steps=0",
)  # fmt: skip
DIT = (
    "dit.hidden_size=24", "dit.depth=1", "dit.num_heads=2", "dit.modulation_rank=4", "text.vocabulary_size=300",
    "text.hidden_size=16", "text.num_heads=2", "samples.batch_size=4", "samples.latent_frames=[3, 5]",
    "order.first_block=2", "order.block=2", "samples.edit_share=0", "samples.cut_share=0", *LOOP, *OPTIMISER,
)  # fmt: skip


def vae_recipe(*more: str) -> Loaded[VaeTrainRecipe]:
    return load_recipe(VaeTrainRecipe, None, [*VAE, *more])


def dit_recipe(*more: str) -> Loaded[DitTrainRecipe]:
    return load_recipe(DitTrainRecipe, None, [*DIT, *more])


def distill_recipe(*more: str) -> Loaded[DitDistillRecipe]:
    return load_recipe(DitDistillRecipe, None, [*DIT, "distill.largest=4", "distill.guided=0.3", *more])


def make_cache(folder: Path, lengths: tuple[int, ...] = (7, 6, 1)) -> tuple[Path, Path]:
    """A VAE that has learnt nothing, and a cache that says it is of it: smooth random latents, 4x4 a frame."""
    vae, latents = folder / "vae", folder / "latents"
    save_vae(vae, tiny_vae(), torch.zeros(4), torch.ones(4), {})
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(4, 1, 4, 4, generator=generator) + torch.linspace(0, 1, n)[:, None, None] for n in lengths]
    records = [
        {
            "source": "clips" if number % 2 else "world",
            "name": f"scene {number}",
            "fps": 8.0,
            "captions": [f"a red ball rolls, number {number}", "a ball"],
            "still_captions": ["a red ball"],
        }
        for number in range(len(lengths))
    ]
    write_shard(latents, "all", values, records)
    write_index(latents, load_vae(vae)[1], ["all"], {})
    return vae, latents


class StopAfter(SilentReporter):
    """A reporter that asks this process to stop when so many updates or pieces were counted."""

    def __init__(self, count: int) -> None:
        self.count = count

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator[Task]:
        """A task that counts down; what a resumed run reports at once does not count."""
        yield _Counting(self)


class Notes(SilentReporter):
    """A reporter that keeps what people are told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


class _Counting:
    def __init__(self, reporter: StopAfter) -> None:
        self.reporter, self.calls = reporter, 0

    def advance(self, count: float = 1, **figures: Any) -> None:
        self.calls += 1
        if self.calls == self.reporter.count:
            os.kill(os.getpid(), signal.SIGUSR1)


def figures(run: Path, name: str = "loss") -> list[float]:
    """One figure of every logged step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def weights(run: Path, step: int = 6) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint: weights, their average and the optimiser's state."""
    folder = run / "checkpoints" / f"step_{step:08d}"
    return {
        f"{path.stem}/{name}": tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def assert_same_run(one: Path, other: Path, step: int = 6) -> None:
    """Every tensor of the last checkpoint and of the model, and every loss, to the bit."""
    assert figures(one) == figures(other)
    found, expected = weights(one, step), weights(other, step)
    assert found.keys() == expected.keys() and len(found) > 10
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    models = [sorted((run / "model").rglob("model.safetensors")) for run in (one, other)]
    assert len(models[0]) == len(models[1]) > 0
    for path, twin in zip(*models, strict=True):
        assert path.read_bytes() == twin.read_bytes(), path
