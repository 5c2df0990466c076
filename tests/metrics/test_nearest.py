"""Nearest samples: synthetic features whose nearest one is known, paler copies, weights of parts, names."""

import pytest
import torch

from soracli.metrics.nearest import name_ranks, nearest_rows


def test_noisy_copies_find_themselves() -> None:
    reference = torch.randn(40, 30)
    order = nearest_rows(reference[5:15] + 0.3 * torch.randn(10, 30), reference, (30,))
    assert order[:, 0].tolist() == list(range(5, 15))
    assert order.sort(dim=1).values.equal(torch.arange(40).expand(10, 40))


def test_a_paler_copy_is_nearer_than_the_palest_sample() -> None:
    """Its distance is least to the mean, where another sample lies; its direction is still its own."""
    reference = torch.randn(20, 10) + 3
    reference[0] = reference.mean(0) + 0.01 * torch.randn(10)
    paler = reference.mean(0) + 0.2 * (reference - reference.mean(0))
    assert torch.cdist(paler, reference).argmin(1)[1:].eq(0).all()
    assert nearest_rows(paler, reference, (10,))[1:, 0].tolist() == list(range(1, 20))


def test_parts_weigh_alike_whatever_their_units() -> None:
    small, large = torch.randn(12, 99), 1000 * torch.randn(12, 99)
    query = torch.cat([small, large], 1)
    other = torch.cat([small, large.roll(1, 0)], 1)  # agrees with row k in the first part, with row k - 1 in the second
    order = nearest_rows(other, query, (99, 99))
    for row in range(12):
        assert set(order[row, :2].tolist()) == {row, (row - 1) % 12}
    assert nearest_rows(other, query, (198,))[:, 0].tolist() == [(row - 1) % 12 for row in range(12)]


def test_names_are_ranked_by_their_first_sample() -> None:
    order = torch.tensor([[2, 0, 1], [1, 2, 0]])
    assert name_ranks(order, ["sun", "moon", "sun"], ["moon", "sun"]) == [2, 1]
    with pytest.raises(ValueError, match="'star'"):
        name_ranks(order, ["sun", "moon", "sun"], ["moon", "star"])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        nearest_rows(torch.zeros(2, 4), torch.zeros(3, 4), (3,))
    with pytest.raises(ValueError, match="at least two"):
        nearest_rows(torch.zeros(2, 4), torch.zeros(1, 4), (4,))
