"""Counted operations against torch's counter and closed forms; the rate against products timed by hand."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

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


def test_the_rate_is_that_of_products():
    """Within a factor, because the machine may be busy with other things."""
    x, best = torch.randn(256, 256), float("inf")
    for _ in range(30):
        began = time.perf_counter()
        x @ x
        best = min(best, time.perf_counter() - began)
    rate = product_rate({(256, 256, 256): 3, (1, 1, 1): 1}, torch.float32, torch.device("cpu"), seconds=0.2)
    assert 0.2 < rate / (2 * 256**3 / best) < 5
    with pytest.raises(ValueError, match="no products"):
        product_rate({}, torch.float32, torch.device("cpu"))
