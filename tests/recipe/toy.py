"""A small recipe class with one of everything a real recipe may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from soracli.recipe.section import Section


class Model(Section):
    """The model."""

    depth: int = Field(default=12, ge=1, le=100)
    """Number of blocks."""

    hidden_size: int = 384
    num_heads: int = 6
    patch_size: tuple[int, int, int] = (1, 2, 2)
    causal: bool = True
    mlp_ratio: float = Field(default=4.0, gt=0)

    @model_validator(mode="after")
    def _heads_divide(self) -> Model:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size ({self.hidden_size}) must be divisible by num_heads ({self.num_heads})")
        return self


class Flow(Section):
    """The path from data to noise."""

    prediction: Literal["velocity", "noise", "data"] = "velocity"
    shift: float | Literal["auto"] = 1.0


class Optimiser(Section):
    """The optimiser."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)


class Schedule(Section):
    """A table inside a table."""

    warmup_steps: int = Field(default=0, ge=0)
    decay: Literal["cosine", "constant"] = "cosine"


class Run(Section):
    """The run."""

    name: str = "toy"
    sizes: tuple[int, ...] = (64, 128)
    schedule: Schedule = Schedule()

    @field_validator("name")
    @classmethod
    def _has_no_slash(cls, name: str) -> str:
        if "/" in name:
            raise ValueError(f"must hold no slash, got {name}")
        return name


class Source(Section):
    """One of a list of tables."""

    path: Path
    weight: float = Field(default=1.0, ge=0)


class Toy(Section):
    """A recipe."""

    kind: Literal["dit.train"] = "dit.train"
    latents: Path = Path("runs/latents")
    limit: float | None = None
    dit: Model = Model()
    flow: Flow = Flow()
    optimiser: Optimiser = Optimiser()
    run: Run = Run()
    sources: tuple[Source, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _warmup_is_shorter(self) -> Toy:
        if self.run.schedule.warmup_steps > self.dit.depth * 100:
            raise ValueError(f"run.schedule.warmup_steps ({self.run.schedule.warmup_steps}) is too long")
        return self


class VaeToy(Section):
    """A recipe of another kind."""

    kind: Literal["vae.train"] = "vae.train"
    steps: int = 10
