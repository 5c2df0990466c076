"""The learning rate against timm's schedulers and closed forms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.scheduler.cosine_lr import CosineLRScheduler

from soracli.training.config import OptimiserConfig
from soracli.training.schedule import learning_rate_at


@pytest.mark.parametrize("warmup", [0, 7])
def test_cosine_is_timms(warmup):
    config = OptimiserConfig(learning_rate=0.3, warmup_steps=warmup, schedule="cosine")
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = CosineLRScheduler(
        optimiser, t_initial=50 - warmup, warmup_t=warmup, warmup_lr_init=0.3 / (warmup + 1), warmup_prefix=True
    )
    for step in range(55):
        assert learning_rate_at(step, config, 50) == pytest.approx(theirs._get_lr(step)[0], abs=1e-12)


def test_constant_then_decay_in_closed_form():
    config = OptimiserConfig(learning_rate=0.5, warmup_steps=4, schedule="constant_then_decay", decay_fraction=0.2)
    ours = [learning_rate_at(step, config, 100) for step in range(102)]
    assert ours[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert ours[4:81] == [0.5] * 77
    assert ours[81:100] == pytest.approx([0.5 * (100 - step) / 20 for step in range(81, 100)])
    assert ours[100:] == [0.0, 0.0]


@given(
    schedule=st.sampled_from(["constant", "cosine", "constant_then_decay"]),
    warmup=st.integers(0, 50),
    total=st.integers(1, 200),
    fraction=st.floats(0.01, 1),
)
def test_rises_then_never_rises_again(schedule, warmup, total, fraction):
    config = OptimiserConfig(learning_rate=0.1, warmup_steps=warmup, schedule=schedule, decay_fraction=fraction)
    rates = [learning_rate_at(step, config, total) for step in range(max(total, warmup) + 1)]
    assert all(0 <= rate <= 0.1 for rate in rates)
    assert rates[0] > 0
    assert rates[: warmup + 1][:-1] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
