"""What counts as divergence: against the definition, one condition at a time."""

import math

import pytest

from soracli.training.config import GuardConfig
from soracli.training.guard import Guard

CONFIG = GuardConfig(ratio=3.0, patience=3, warmup=5)


def calm(steps: int = 10) -> Guard:
    guard = Guard(CONFIG, ceilings=("loss", "other"), floors={"kl": 0.1})
    for step in range(steps):
        guard.watch({"loss": 1.0 + 0.1 * (-1) ** step, "kl": 1.0, "gradient": 5.0})
    return guard


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_an_alarm_from_the_first_step(value):
    guard = calm(0)
    guard.watch({"loss": 1.0, "gradient": value})
    assert not guard.is_calm and guard.reason == f"gradient is {value:g}"


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"loss": 3.5, "kl": 1.0}, "loss is 3.5, 3.5 times what it was"),
        ({"loss": 2.9, "kl": 1.0}, ""),
        ({"loss": 1.0, "kl": 0.05}, "kl is 0.05, below 0.1"),
        ({"loss": 1.0, "kl": 0.15}, ""),
        ({"loss": 1.0, "gradient": 1e9}, ""),  # nobody asked to watch it
        ({"loss": 1.0, "other": 7.0}, ""),  # never seen before: nothing to compare with
        ({}, ""),
    ],
)
def test_one_step(figures, says):
    guard = calm()
    guard.watch(figures)
    assert guard.reason == says and guard.is_calm == (not says)


def test_nothing_is_compared_before_the_warm_up():
    guard = calm(4)
    guard.watch({"loss": 100.0, "kl": 0.0})
    assert guard.is_calm
    guard = calm(5)
    guard.watch({"loss": 100.0, "kl": 0.0})
    assert not guard.is_calm


def test_only_alarms_in_a_row_count():
    guard = calm()
    for _ in range(5):
        guard.watch({"loss": 50.0})
        guard.watch({"loss": 50.0})
        assert guard.alarms == 2 and not guard.has_diverged
        guard.watch({"loss": 1.0})
        assert guard.is_calm
    for _ in range(3):
        guard.watch({"loss": 50.0})
    assert guard.has_diverged
    guard.forget()
    assert guard.is_calm and not guard.has_diverged
    guard.watch({"loss": 50.0})
    assert guard.is_calm  # what is usual is learnt anew


def test_the_usual_is_a_slow_average_that_alarms_do_not_move():
    guard = calm()
    before = guard.usual["loss"]
    assert before == pytest.approx(1.0, abs=0.02)
    guard.watch({"loss": 50.0})
    assert guard.usual["loss"] == before
    for _ in range(400):
        guard.watch({"loss": 2.0})
    assert guard.usual["loss"] == pytest.approx(2.0, abs=0.01)


def test_giving_up_needs_no_more_alarms():
    guard = calm()
    guard.give_up("the optimiser has had enough")
    assert guard.has_diverged and not guard.is_calm and guard.reason == "the optimiser has had enough"


def test_a_figure_below_zero_has_no_ratio():
    """As a loss with the entropy of a codebook in it: it falls, rises and crosses 0 without a reason to be alarmed."""
    guard = Guard(CONFIG, ceilings=("loss", "l1"))
    for step in range(60):
        guard.watch({"loss": -0.8 + 0.1 * (-1) ** step, "l1": 0.1})
        assert guard.is_calm
    guard.watch({"loss": 0.5, "l1": 0.1})
    assert guard.is_calm
    guard.watch({"loss": -0.8, "l1": 0.4})
    assert guard.reason == "l1 is 0.4, 4.0 times what it was"
