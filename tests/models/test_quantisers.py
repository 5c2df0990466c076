"""FSQ and LFQ against scalar versions written out, brute force over all codes, and closed forms of entropies."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from soracli.models.quantisers import (
    codes_from_indices,
    commitment_loss,
    fsq_bound,
    fsq_codes,
    indices_from_codes,
    lfq_codes,
    lfq_entropies,
)

some_levels = st.lists(st.integers(3, 9), min_size=1, max_size=4)
some_bits = st.integers(1, 8).map(lambda count: [2] * count)


def plain_fsq(value: float, count: int, shift_of) -> float:
    """One dimension, after the listing in appendix A.1 of the paper."""
    half = (count - 1) * (1 - 1e-3) / 2
    offset = 0.0 if count % 2 else 0.5
    return round(math.tanh(value + shift_of(offset / half)) * half - offset) / (count // 2)


@given(levels=some_levels, seed=st.integers(0, 999))
def test_fsq_is_the_scalar_version(levels, seed):
    values = 2 * torch.randn(20, len(levels), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    codes = fsq_codes(values, levels)
    expected = [[plain_fsq(value, levels[d], math.atanh) for d, value in enumerate(row)] for row in values.tolist()]
    torch.testing.assert_close(codes, torch.tensor(expected, dtype=torch.float64), atol=0, rtol=0)


@pytest.mark.parametrize("count", [3, 4, 5, 6, 8, 17, 64])
def test_fsq_is_the_paper_s_but_for_the_shift_of_even_levels(count):
    values = torch.linspace(-6, 6, 1001, dtype=torch.float64)[:, None]
    theirs = torch.tensor([[plain_fsq(value, count, math.tan)] for value in values[:, 0].tolist()], dtype=torch.float64)
    differs = (fsq_codes(values, [count]) != theirs).double().mean()
    assert differs == 0 if count % 2 else differs < 0.002
    assert float(fsq_bound(torch.zeros(1, 1, dtype=torch.float64), [count]).abs()) < 1e-12
    half = (count - 1) * (1 - 1e-3) / 2
    assert count % 2 or abs(math.tan(0.5 / half) - math.atanh(0.5 / half)) < 1e-3


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7, 8, 33, 64])
def test_every_level_is_reached_and_none_beyond(count):
    values = torch.cat([torch.linspace(-9, 9, 4001), torch.tensor([-1e9, 1e9, math.inf, -math.inf])])
    found = fsq_codes(values[:-2, None], [count]).unique()
    torch.testing.assert_close(found, (torch.arange(count) - count // 2) / (count // 2), atol=0, rtol=0)
    assert float(found.min()) == -1 and float(found.max()) <= 1


@given(levels=some_levels | some_bits)
def test_indices_are_the_table_of_all_codes(levels):
    """Built the slow way: the first dimension runs fastest."""
    values = [
        [-1.0, 1.0] if count == 2 else [(k - count // 2) / (count // 2) for k in range(count)] for count in levels
    ]
    table = torch.tensor([list(reversed(code)) for code in itertools.product(*reversed(values))])
    everything = torch.arange(math.prod(levels))
    torch.testing.assert_close(codes_from_indices(everything, levels), table, atol=0, rtol=0)
    assert torch.equal(indices_from_codes(table, levels), everything)
    assert len(table.unique(dim=0)) == len(table)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("levels", [[8, 8, 8, 8, 8, 8], [64, 3, 7], [2] * 18, [2] * 24])
def test_large_codebooks_come_back_in_every_type(dtype, levels):
    indices = torch.randint(math.prod(levels), (3, 5, 40), generator=torch.Generator().manual_seed(0))
    codes = codes_from_indices(indices, levels, dtype)
    assert codes.dtype == dtype and codes.shape == (3, 5, 40, len(levels))
    assert torch.equal(indices_from_codes(codes, levels), indices)
    assert int(indices_from_codes(torch.full((1, len(levels)), 3.0), levels)) == math.prod(levels) - 1


@given(levels=some_levels, seed=st.integers(0, 999))
def test_codes_are_those_of_their_indices_to_the_bit(levels, seed):
    values = 2 * torch.randn(30, len(levels), generator=torch.Generator().manual_seed(seed))
    codes = fsq_codes(values, levels)
    assert torch.equal(codes_from_indices(indices_from_codes(codes, levels), levels), codes)
    bits = lfq_codes(1e9 * values)  # so far from their codes that values + (codes - values) are none
    two = [2] * len(levels)
    assert torch.equal(codes_from_indices(indices_from_codes(bits, two), two), bits)


def test_lfq_is_the_nearest_code_and_counts_as_the_paper_does():
    values = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    every = codes_from_indices(torch.arange(32), [2] * 5)
    nearest = (values[:, None] - every).square().sum(-1).argmin(1)
    assert torch.equal(indices_from_codes(lfq_codes(values), [2] * 5), nearest)
    by_hand = sum(2**place * (values[:, place] > 0).long() for place in range(5))
    assert torch.equal(nearest, by_hand)
    assert lfq_codes(torch.zeros(1)).item() == -1
    assert lfq_codes(torch.tensor([math.nan])).isnan() and fsq_codes(torch.tensor([[math.nan]]), [5]).isnan()


def test_the_gradient_passes_the_rounding():
    levels = [8, 5, 3]
    values = torch.randn(40, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(40, 3, dtype=torch.float64)
    found = torch.autograd.grad((fsq_codes(values, levels) * weights).sum(), values)[0]
    half_widths = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    smooth = torch.autograd.grad((fsq_bound(values, levels) / half_widths * weights).sum(), values)[0]
    torch.testing.assert_close(found, smooth)
    assert torch.equal(torch.autograd.grad((lfq_codes(values) * weights).sum(), values)[0], weights)


def brute_entropies(values: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """By the softmax over all codes."""
    bits = values.shape[-1]
    every = codes_from_indices(torch.arange(2**bits), [2] * bits, values.dtype)
    distance = (values.reshape(-1, 1, bits) - every).square().sum(-1)
    probability = (-distance / temperature).softmax(1)
    mean = probability.mean(0)
    return torch.special.entr(probability).sum(1).mean(), torch.special.entr(mean).sum()


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_entropies_are_those_over_all_codes(temperature):
    values = torch.randn(2, 3, 11, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = brute_entropies(values, temperature)
    torch.testing.assert_close(lfq_entropies(values, temperature, 6), expected)
    torch.testing.assert_close(lfq_entropies(values, temperature, 9), expected)
    grouped = lfq_entropies(values, temperature, 4)
    torch.testing.assert_close(grouped[0], expected[0])
    parts = [brute_entropies(part, temperature)[1] for part in (values[..., :4], values[..., 4:])]
    torch.testing.assert_close(grouped[1], sum(parts))
    assert grouped[1] > expected[1]


def test_entropies_at_their_ends():
    every = 9 * codes_from_indices(torch.arange(64), [2] * 6)
    sure, even = lfq_entropies(every, 1.0, 6)
    assert float(sure) == pytest.approx(0, abs=1e-5) and float(even) == pytest.approx(6 * math.log(2), rel=1e-5)
    unsure, one = lfq_entropies(torch.zeros(7, 6), 1.0, 3)
    assert float(unsure) == pytest.approx(6 * math.log(2)) and float(one) == pytest.approx(6 * math.log(2))
    assert float(lfq_entropies(every[:1].expand(5, 6), 1.0, 6)[1]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 1e4])
def test_gradients_of_entropies_are_finite(size):
    values = (size * torch.randn(50, 18, generator=torch.Generator().manual_seed(0))).requires_grad_()
    unsure, even = lfq_entropies(values, 0.01, 9)
    (gradient,) = torch.autograd.grad(unsure - even, values)
    assert bool(gradient.isfinite().all()) and math.isfinite(float((unsure - even).detach()))


def test_two_ranks_have_the_gradient_of_one():
    values = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(-lfq_entropies(values, 1.0, 3)[1], values)
    halves = values.detach().split(4)
    means: list[list[Tensor]] = [[], []]
    for half, kept in zip(halves, means, strict=True):
        lfq_entropies(half, 1.0, 3, lambda mean, kept=kept: kept.append(mean) or mean)
    found = []
    for half in halves:
        half = half.clone().requires_grad_()
        whole = iter([(one + two) / 2 for one, two in zip(*means, strict=True)])
        used = lfq_entropies(half, 1.0, 3, lambda mean, whole=whole: mean + (next(whole) - mean).detach())[1]
        found.append(torch.autograd.grad(-used, half)[0] / 2)  # ranks average their gradients
    torch.testing.assert_close(torch.cat(found), expected)


def test_commitment_moves_values_and_not_codes():
    values, codes = torch.tensor([0.5, -3.0], requires_grad=True), torch.tensor([1.0, -1.0], requires_grad=True)
    loss = commitment_loss(values, codes)
    assert float(loss.detach()) == pytest.approx((0.25 + 4) / 2)
    loss.backward()
    assert values.grad is not None and values.grad.tolist() == [-0.5, -2.0] and codes.grad is None
