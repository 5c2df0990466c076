"""Recipe sections of training: the optimiser and the loop.

Torch-free. Every ``*_every`` counts steps, so all ranks agree on it without talking and two runs of one recipe
save at the same steps; 0 means never. A step is one update of the weights from one global batch.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from soracli.recipe.section import Section

Precision = Literal["auto", "float32", "bfloat16"]
"""What matrices are multiplied in; weights and sums stay float32."""
Fraction = Annotated[float, Field(ge=0, lt=1)]


class OptimiserConfig(Section):
    """How gradients become updates."""

    name: Literal["adamw", "muon"] = "adamw"
    """muon: Muon for hidden matrices, AdamW for the rest; adamw: AdamW for everything."""

    learning_rate: float = Field(default=3e-4, gt=0, le=1, allow_inf_nan=False)
    """Peak learning rate, of AdamW and of Muon (whose updates are scaled to the size of AdamW's)."""

    weight_decay: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)
    """Decoupled weight decay, on matrices and kernels only; gains and biases never decay."""

    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    """AdamW's averages of the gradient and of its square."""

    warmup_steps: int = Field(default=100, ge=0)
    """Steps in which the learning rate rises to its peak on a straight line."""

    schedule: Literal["constant", "cosine", "constant_then_decay"] = "constant_then_decay"
    """After the warm-up: constant; half a cosine to 0; or constant, then a straight line to 0."""

    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """Last part of loop.steps that ``constant_then_decay`` spends on its way to 0; unused by the others."""

    gradient_clip: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Largest norm of all gradients together; 0 switches clipping off (the norm is still reported)."""

    spike_ratio: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """An update whose gradients (before clipping) have a norm over this many times the median of the last 100 norms is
    left out; 0: none is."""

    max_skipped_steps: int = Field(default=10, ge=1)
    """Steps in a row whose loss or gradients may be NaN or infinite (they change no weight) before the run ends."""

    @model_validator(mode="after")
    def _spares_most(self) -> Self:
        if 0 < self.spike_ratio <= 1:
            raise ValueError(
                f"spike_ratio ({self.spike_ratio:g}) must be over 1, or half of all updates would be left out"
            )
        return self


class LoopConfig(Section):
    """How long training runs and what it does on the way."""

    steps: int = Field(default=1000, ge=1)
    """Steps in all, across resumes."""

    save_every: int = Field(default=500, ge=1)
    """Steps between checkpoints. A stop by SIGTERM, SIGUSR1 or ^C saves too; a kill loses up to this many steps."""

    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest complete checkpoints to keep; two survive damage to one."""

    log_every: int = Field(default=10, ge=1)
    """Steps between lines of metrics.jsonl."""

    sample_every: int = Field(default=0, ge=0)
    """Steps between samples written to the run folder; 0: none."""

    eval_every: int = Field(default=0, ge=0)
    """Steps between evaluations on held-out data; 0: none."""

    ema_decay: Fraction = 0.999
    """Decay of the moving average of the weights that is measured and becomes the model, warmed up as
    min(decay, (1 + n) / (10 + n)); 0: no averaging."""

    ema_decays: tuple[Fraction, ...] = ()
    """Decays of all averages that are kept, ``ema_decay`` among them; empty: that one alone. The same command with
    another of them as ``ema_decay`` goes on with it, or writes it as the model of a finished run."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of everything random: weights, order of the data, noise."""

    precision: Precision = "float32"
    """What matrices are multiplied in: bfloat16 is several times faster where the machine has units for it; auto:
    bfloat16 there, float32 elsewhere (so two kinds of machine give two curves)."""

    store: Literal["float32", "bfloat16"] = "float32"
    """What the weights of the finished model are stored in; bfloat16 is half the size. Checkpoints are float32."""

    num_threads: int = Field(default=0, ge=0)
    """CPU threads per process; 0: all cores this process may use."""

    rank_timeout: float = Field(default=600.0, ge=1, allow_inf_nan=False)
    """Seconds that ranks wait for one another before they give up and name the one that hangs. Longer than what rank 0
    does alone: measuring, samples, a checkpoint."""

    tensorboard: bool = False
    """Write TensorBoard event files beside metrics.jsonl (needs the ``tensorboard`` extra)."""

    @model_validator(mode="after")
    def _keeps_what_it_uses(self) -> Self:
        if self.ema_decays and self.ema_decay not in self.ema_decays:
            raise ValueError(f"ema_decay ({self.ema_decay}) must be one of ema_decays ({list(self.ema_decays)})")
        if len(set(self.ema_decays)) < len(self.ema_decays):
            raise ValueError(f"ema_decays ({list(self.ema_decays)}) names a decay twice")
        return self


class GuardConfig(Section):
    """When a training counts as diverged, and how often it may go back to its last checkpoint."""

    ratio: float = Field(default=5.0, gt=1, allow_inf_nan=False)
    """A loss this many times its running average is an alarm; so is any figure that is NaN or infinite."""

    patience: int = Field(default=20, ge=1)
    """Alarms in a row after which the state is given up. Nothing is saved while there is an alarm."""

    warmup: int = Field(default=100, ge=0)
    """Good steps before losses are compared with their average."""

    rollbacks: int = Field(default=3, ge=0)
    """Returns to the last checkpoint, each with other samples and half the learning rate, before the run ends."""


HARMLESS_CHANGES = (
    "loop.steps",
    "loop.save_every",
    "loop.keep_checkpoints",
    "loop.log_every",
    "loop.sample_every",
    "loop.eval_every",
    "loop.num_threads",
    "loop.rank_timeout",
    "loop.store",
    "loop.tensorboard",
    "optimiser.max_skipped_steps",
)
"""Keys that may always change between a run and its resume; any other change would make it another run."""


COMPILE_MAY_CHANGE = (*HARMLESS_CHANGES, "compile")
"""The same for recipes that can compile."""


def may_change(loop: LoopConfig, *more: str) -> tuple[str, ...]:
    """Keys that may change between a run and its resume, of recipes that can compile.

    Args:
        loop: Of the resume: which of several averages is used may change, a single one may not.
        more: Further keys.
    """
    return (*COMPILE_MAY_CHANGE, *(("loop.ema_decay",) if loop.ema_decays else ()), *more)


def is_due(step: int, every: int) -> bool:
    """Whether something done every ``every`` steps is due after ``step`` steps; never when ``every`` is 0."""
    return every > 0 and step > 0 and step % every == 0
