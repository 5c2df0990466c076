"""The dispersive loss against the double sum it stands for; what it pulls at; means of samples of any length."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.diffusion.dispersive import dispersive_loss, mean_by_sample


@given(count=st.integers(1, 7), width=st.integers(1, 5), seed=st.integers(0, 99))
def test_it_is_the_mean_over_all_pairs(count: int, width: int, seed: int) -> None:
    states = torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    total = sum(math.exp(-float((a - b).square().sum()) / width) for a in states for b in states)
    assert float(dispersive_loss(states)) == pytest.approx(math.log(total / count**2), abs=1e-9)


def test_its_ends() -> None:
    """0 for samples that are all the same; log 1/S, a sample with itself alone, for those that are far apart."""
    same = torch.ones(4, 3, requires_grad=True)
    loss = dispersive_loss(same)
    (gradient,) = torch.autograd.grad(loss, same)
    assert loss.item() == pytest.approx(0, abs=1e-6) and not gradient.any()
    assert float(dispersive_loss(100 * torch.eye(4))) == pytest.approx(math.log(1 / 4), abs=1e-6)
    assert float(dispersive_loss(torch.ones(1, 3))) == 0


def test_it_pushes_apart() -> None:
    states = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(dispersive_loss, states)
    before = torch.pdist(states).sum()
    (gradient,) = torch.autograd.grad(dispersive_loss(states), states)
    assert torch.pdist(states - 0.1 * gradient).sum() > before


def test_means_are_each_samples_own() -> None:
    states = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    sample = torch.tensor([0, 0, 2, 1, 1, 1, 2, 2, 2])
    found = mean_by_sample(states, sample, 3)
    for number in range(3):
        torch.testing.assert_close(found[number], states[sample == number].mean(0))
