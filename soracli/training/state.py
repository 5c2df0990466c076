"""What a training is in the middle of: weights, their average, the optimiser and the step, saved and read as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from soracli.core.errors import ArtifactError, NumericsError
from soracli.training.checkpoint import load_latest, load_module, save_checkpoint
from soracli.training.checkpoint_slices import joined
from soracli.training.config import LoopConfig
from soracli.training.ema import average_name, build_averages, ema_tensors, load_ema
from soracli.training.guard import Guard
from soracli.training.optimiser import Optimiser
from soracli.training.optimiser_state import flatten_optimiser, unflatten_optimiser
from soracli.training.sharding import Sharding, gather_module
from soracli.training.shared_checkpoint import save_shared_checkpoint


@dataclass(frozen=True)
class Partner:
    """A second thing that is trained beside the first, for its sake: no average of it is kept.

    Attributes:
        module: What is trained, with anything else in its buffers that a checkpoint has to keep.
        optimiser: What updates it.
    """

    module: nn.Module
    optimiser: Optimiser


@dataclass
class TrainState:
    """The moving parts of one training.

    Attributes:
        model: What is trained.
        ema: The average of its weights that is measured and becomes the model.
        optimiser: What updates it.
        step: Updates done.
        rollbacks: How often it went back to a checkpoint because it had diverged.
        partner: What is trained beside it, if anything.
        averages: All averages by the part of a checkpoint that each is, ``ema`` among them; that one alone by default.
        fixed: Names of weights that stay as they are and are found elsewhere: checkpoints leave them out.
        sharding: Who holds what, if ranks hold model, averages and optimiser between them.
        empty: ``empty_copy`` of the model then.
    """

    model: nn.Module
    ema: AveragedModel
    optimiser: Optimiser
    step: int = 0
    rollbacks: int = 0
    partner: Partner | None = None
    averages: Mapping[str, AveragedModel] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    sharding: Sharding | None = None
    empty: nn.Module | None = None

    def __post_init__(self) -> None:
        self.averages = self.averages or {"ema": self.ema}

    def average(self) -> None:
        """Move all averages towards the weights, after an update."""
        for average in self.averages.values():
            average.update_parameters(self.model)

    def whole_average(self) -> nn.Module | None:
        """The averaged weights that are measured and become the model, as a module by itself.

        Where ranks hold them between them all ranks call this together, and they are gathered on rank 0 alone.
        """
        if self.sharding is None or self.empty is None:
            return self.ema.module
        return gather_module(self.ema.module, self.empty, self.sharding)

    def slow_down(self, scale: float) -> None:
        """Multiply the learning rates of the recipe, from now on."""
        self.optimiser.rate_scale = scale
        if self.partner is not None:
            self.partner.optimiser.rate_scale = scale


def begin_state(
    model: nn.Module,
    optimiser: Optimiser,
    loop: LoopConfig,
    partner: Partner | None = None,
    fixed: frozenset[str] = frozenset(),
) -> TrainState:
    """The state of a training that has done nothing yet, with the averages that its recipe asks for."""
    averages = build_averages(model, loop.ema_decay, loop.ema_decays)
    used = averages[average_name(loop.ema_decay, loop.ema_decays)]
    return TrainState(model, used, optimiser, partner=partner, averages=averages, fixed=fixed)


def save_train_state(folder: Path, state: TrainState, keep: int) -> Path:
    """Write a checkpoint of everything; see ``save_checkpoint``, and with a ``sharding`` ``save_shared_checkpoint``."""
    parts = {"model": _without(state.model.state_dict(), state.fixed)}
    parts |= {name: _without(ema_tensors(average), state.fixed) for name, average in state.averages.items()}
    parts["optimiser"], record = flatten_optimiser(state.optimiser)
    facts = {"optimiser": record, "ema_updates": int(state.ema.n_averaged), "rollbacks": state.rollbacks}
    if state.partner is not None:
        parts["partner"] = dict(state.partner.module.state_dict())
        parts["partner_optimiser"], facts["partner_optimiser"] = flatten_optimiser(state.partner.optimiser)
    if state.sharding is not None:
        return save_shared_checkpoint(folder, state.step, parts, facts, keep, state.sharding)
    return save_checkpoint(folder, state.step, parts, facts, keep)


def load_train_state(
    folder: Path, state: TrainState, note: Callable[[str], None], device: torch.device | str = "cpu"
) -> bool:
    """Go back to the newest whole checkpoint, if there is one.

    Returns:
        Whether there was one.

    Raises:
        ArtifactError: If there are checkpoints but none fits.
    """
    plain = [name for name, _ in state.model.named_buffers()]
    join = joined if state.sharding is None else state.sharding.own_rows(plain)
    checkpoint = load_latest(folder, note, device, join) if folder.is_dir() else None
    if checkpoint is None:
        return False
    try:
        fixed = {name: tensor for name, tensor in state.model.state_dict().items() if name in state.fixed}
        load_module(state.model, {**fixed, **checkpoint.parts["model"]}, f"checkpoint {checkpoint.path}")
        for name, average in state.averages.items():
            load_ema(average, {**fixed, **checkpoint.parts[name]}, checkpoint.state["ema_updates"])
        unflatten_optimiser(state.optimiser, checkpoint.parts["optimiser"], checkpoint.state["optimiser"])
        if state.partner is not None:
            load_module(state.partner.module, checkpoint.parts["partner"], f"checkpoint {checkpoint.path}")
            unflatten_optimiser(
                state.partner.optimiser,
                checkpoint.parts["partner_optimiser"],
                checkpoint.state["partner_optimiser"],
            )
    except KeyError as error:
        raise ArtifactError(f"checkpoint {checkpoint.path} lacks {error}") from error
    state.step, state.rollbacks = checkpoint.step, checkpoint.state.get("rollbacks", 0)
    return True


def tell_resumed(out: Path, step: int, steps: int) -> str:
    """What people are told when a run was there already."""
    if step >= steps:
        return f"already done: {out} is at step {step} of {steps}; its model is written once more"
    return f"going on with {out} after step {step}"


def _without(tensors: Mapping[str, Tensor], names: frozenset[str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def roll_back(
    folder: Path, state: TrainState, guard: Guard, note: Callable[[str], None], device: torch.device | str
) -> None:
    """Go back to the last checkpoint of a training that has diverged, counting how often.

    What is drawn by ``state.rollbacks`` from then on is drawn anew: the same samples would lead to the same place.

    Raises:
        NumericsError: If there is no checkpoint, or it went back ``guard.config.rollbacks`` times already.
    """
    step, reason, rollbacks = state.step, guard.reason, state.rollbacks
    advice = "lower optimiser.learning_rate, or raise optimiser.warmup_steps"
    if rollbacks >= guard.config.rollbacks:
        raise NumericsError(
            f"diverged after step {step} ({reason}), {rollbacks} times after going back; the last good checkpoint is "
            f"kept: {advice}"
        )
    if not load_train_state(folder, state, note, device):
        raise NumericsError(f"diverged after step {step} ({reason}), before there was a checkpoint: {advice}")
    state.rollbacks = rollbacks + 1
    guard.forget()
    note(
        f"diverged after step {step} ({reason}): back to step {state.step}, with other samples and the learning rate "
        f"times {0.5**state.rollbacks:g}"
    )
