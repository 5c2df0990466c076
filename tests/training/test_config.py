"""The sections of training: defaults, bounds, and that every key that may change on resume exists."""

import pytest
from pydantic import ValidationError

from soracli.training.config import HARMLESS_CHANGES, LoopConfig, OptimiserConfig, is_due, may_change


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (OptimiserConfig, {"learning_rate": 0}),
        (OptimiserConfig, {"learning_rate": float("nan")}),
        (OptimiserConfig, {"betas": (0.9, 1.0)}),
        (OptimiserConfig, {"name": "sgd"}),
        (OptimiserConfig, {"lerning_rate": 1e-3}),
        (LoopConfig, {"steps": 0}),
        (LoopConfig, {"ema_decay": 1.0}),
        (LoopConfig, {"keep_checkpoints": 0}),
        (LoopConfig, {"ema_decays": (0.9, 1.0), "ema_decay": 0.9}),
        (LoopConfig, {"ema_decays": (0.9, 0.99), "ema_decay": 0.999}),
        (LoopConfig, {"ema_decays": (0.9, 0.9), "ema_decay": 0.9}),
        (OptimiserConfig, {"spike_ratio": 1.0}),
    ],
)
def test_values_out_of_range_are_refused(section, values):
    with pytest.raises(ValidationError):
        section(**values)


def test_harmless_changes_are_keys():
    keys = {f"loop.{key}" for key in LoopConfig.model_fields}
    keys |= {f"optimiser.{key}" for key in OptimiserConfig.model_fields}
    assert set(HARMLESS_CHANGES) <= keys


def test_an_average_may_change_for_another_that_was_kept():
    assert "loop.ema_decay" not in may_change(LoopConfig())
    assert "loop.ema_decay" in may_change(LoopConfig(ema_decay=0.9, ema_decays=(0.9, 0.99)))
    assert "loop.ema_decays" not in may_change(LoopConfig(ema_decay=0.9, ema_decays=(0.9, 0.99)), "more")


def test_every_field_says_what_it_is():
    for section in (OptimiserConfig, LoopConfig):
        assert all(field.description for field in section.model_fields.values())


def test_due_steps():
    assert [step for step in range(7) if is_due(step, 3)] == [3, 6]
    assert not any(is_due(step, 0) for step in range(7))
