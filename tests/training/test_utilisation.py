"""Counted operations against torch's counter and closed forms; the rate by a clock that is known."""

import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from soracli.training import utilisation
from soracli.training.utilisation import Operations, product_rate

sizes = st.integers(1, 12)


@given(batch=sizes, inside=sizes, hidden=sizes)
def test_counts_what_torch_counts(batch, inside, hidden):
    def work() -> None:
        model = nn.Sequential(nn.Linear(inside, hidden), nn.GELU(), nn.Linear(hidden, 3, bias=False))
        model(torch.randn(batch, inside)).square().mean().backward()

    with FlopCounterMode(display=False) as theirs:
        work()
    with Operations() as ours:
        work()
    assert ours.total == theirs.get_total_flops() == 2 * batch * (2 * inside * hidden + 3 * hidden * 3)
    assert sum(2 * m * k * n * count for (m, k, n), count in ours.products.items()) == ours.total


def test_counts_the_fused_attention_of_a_cpu():
    """Two products forward; on the way back five, because scores are computed again."""
    query, key, value = (torch.randn(2, 3, 16, 8, requires_grad=True) for _ in range(3))
    with Operations() as counter:
        out = functional.scaled_dot_product_attention(query, key, value)
    product = 2 * 2 * 3 * 16 * 16 * 8
    assert counter.total == 2 * product
    with Operations() as counter:
        out.sum().backward()
    assert counter.total == 5 * product


def test_lets_gradients_of_leaves_through():
    x = torch.randn(4, 4, requires_grad=True)
    with Operations() as counter:
        torch.autograd.grad((x @ x).sum(), x)
    assert counter.total == 3 * 2 * 4**3


def test_the_rate_is_that_of_the_fastest_tries(monkeypatch):
    """By a clock that knows how long products take: 1 ns an operation for tall ones, 4 for others, and disturbances."""
    draw, now = random.Random(0), [0.0]

    def multiply(left: Tensor, right: Tensor, slope: Tensor, times: int) -> None:
        (m, k), n = left.shape, right.shape[0]
        assert right.shape == (n, k) and slope.shape == (m, n) and left.dtype == torch.bfloat16
        seconds = 3 * 2 * m * k * n * (1e-9 if m == 64 else 4e-9)
        now[0] += times * seconds * (1 if draw.random() < 0.2 else draw.uniform(1, 50))

    monkeypatch.setattr(utilisation, "_multiply", multiply)
    monkeypatch.setattr(utilisation, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    products = {(64, 8, 8): 10, (16, 8, 8): 40}  # as much work in each
    rate = product_rate(products, torch.bfloat16, torch.device("cpu"), seconds=1.0)
    assert rate == pytest.approx(2 / (1e-9 + 4e-9))
    assert now[0] < 1.5


def test_a_rate_is_measured():
    assert product_rate({(8, 8, 8): 1}, torch.float32, torch.device("cpu"), seconds=0.01) > 0
    with pytest.raises(ValueError, match="no products"):
        product_rate({}, torch.float32, torch.device("cpu"))
