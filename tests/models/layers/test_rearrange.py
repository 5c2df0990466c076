"""Rows in another order against torch's own indexing, forward and backward."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.models.layers.rearrange import rearranged


@given(st.integers(1, 12), st.integers(0, 6), st.integers(0, 2**31 - 1))
def test_forward_and_backward_are_those_of_an_index(count: int, gaps: int, seed: int) -> None:
    """Also with rows of zeros between; and going back gives what was there."""
    generator = torch.Generator().manual_seed(seed)
    back = torch.randperm(count + gaps, generator=generator)[:count]
    there = torch.full((count + gaps,), count)
    there[back] = torch.arange(count)
    x = torch.randn(count, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.randn(count + gaps, 3, dtype=torch.float64, generator=generator)

    plain = torch.cat([x, x.new_zeros(1, 3)])[there]
    (expected,) = torch.autograd.grad((plain * weights).sum(), x)
    result = rearranged(x, there, back)
    (gradient,) = torch.autograd.grad((result * weights).sum(), x, retain_graph=True)
    assert torch.equal(result, plain) and torch.equal(gradient, expected)

    returned = rearranged(result, back, there)
    (gradient,) = torch.autograd.grad((returned * weights[:count]).sum(), x)
    assert torch.equal(returned, x) and torch.equal(gradient, weights[:count])
