"""Muon against its published algorithm written out in float64, and against what an orthogonal factor is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from soracli.training.muon import Muon, orthogonalise

SHAPES = [(8, 8), (6, 20), (20, 6), (1, 7), (64, 192)]


def newton_schulz(matrix: Tensor) -> Tensor:
    """Five steps on the matrix itself, as Jordan et al. publish them, in float64."""
    x = matrix.double()
    if x.shape[0] > x.shape[1]:
        return newton_schulz(matrix.T).T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_published_iteration(shape):
    matrix = torch.randn(shape)
    torch.testing.assert_close(orthogonalise(matrix).double(), newton_schulz(matrix), atol=1e-4, rtol=1e-4)


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_singular_values_end_near_1_and_directions_stay(shape, size, seed):
    """For singular values that are not tiny beside the largest."""
    generator = torch.Generator().manual_seed(seed)
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=generator, dtype=torch.float64), full_matrices=False)
    values = 0.2 + torch.rand(min(shape), generator=generator, dtype=torch.float64)
    found = orthogonalise((u * values @ vh * size).float()).double()
    inner = u.T @ found @ vh.T
    assert bool(((inner.diagonal() > 0.6) & (inner.diagonal() < 1.25)).all())
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-4, rtol=0)
    torch.testing.assert_close(found, u @ torch.diag(inner.diagonal()) @ vh, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(8, 8), (20, 6), (64, 192)])
def test_bfloat16_is_near(shape):
    """As near as torch's own, which is what everybody trains with; also where singular values span a thousand."""
    torch.manual_seed(0)
    matrix = torch.randn(shape) * torch.logspace(0, -3, shape[1])
    found = orthogonalise(matrix, torch.bfloat16)
    assert found.dtype == torch.float32
    assert float((found - newton_schulz(matrix)).norm() / newton_schulz(matrix).norm()) < 0.06


def test_nothing_stays_nothing():
    assert not orthogonalise(torch.zeros(3, 5)).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_updates_are_those_written_out(shape):
    """Momentum, Nesterov's look ahead, decoupled decay, and the scale of Liu et al."""
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(shape))
    weight, momentum = parameter.detach().double(), torch.zeros(shape, dtype=torch.float64)
    optimiser = Muon([parameter], lr=0.1, weight_decay=0.2, momentum=0.9)
    for _ in range(4):
        gradient = torch.randn(shape)
        parameter.grad = gradient.clone()
        optimiser.step()
        momentum = 0.9 * momentum + 0.1 * gradient.double()
        update = newton_schulz(0.1 * gradient.double() + 0.9 * momentum)
        weight = weight * (1 - 0.1 * 0.2) - 0.1 * 0.2 * max(shape) ** 0.5 * update
        torch.testing.assert_close(parameter.detach().double(), weight, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(16, 16), (8, 40)])
def test_it_is_torchs_to_its_bfloat16(shape):
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    one = Muon([ours], lr=0.1, weight_decay=0.1)
    other = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    torch.testing.assert_close(ours, theirs, atol=0.01, rtol=0)


def test_what_has_no_gradient_stays():
    parameter = nn.Parameter(torch.ones(2, 2))
    assert Muon([parameter]).step(lambda: 3.0) == 3.0
    assert torch.equal(parameter, torch.ones(2, 2))
