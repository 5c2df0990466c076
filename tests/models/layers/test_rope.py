"""Rotary positions: against complex numbers; scores depend on differences only; every axis has its own pairs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.models.layers.rope import rope_angles, rope_frequencies, rotate

shifts = st.tuples(st.floats(-30, 30), st.floats(-4, 4), st.floats(-4, 4))


def placed(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(length, 2, 24), torch.rand(length, 3) * torch.tensor([8.0, 1.0, 1.0])


@settings(max_examples=25)
@given(shift=shifts)
def test_scores_depend_on_differences(shift):
    frequencies = rope_frequencies(24)
    (q, place_q), (k, place_k) = placed(5), placed(7)

    def scores(by: tuple[float, float, float]) -> torch.Tensor:
        moved = torch.tensor(by)
        turned = [rotate(x, rope_angles(at + moved, frequencies)) for x, at in ((q, place_q), (k, place_k))]
        return torch.einsum("ind,jnd->nij", *turned)

    torch.testing.assert_close(scores(shift), scores((0.0, 0.0, 0.0)), atol=2e-3, rtol=0)


def test_lengths_are_kept():
    x, place = placed(9)
    turned = rotate(x, rope_angles(place, rope_frequencies(24)))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x, torch.zeros(9, 12)), x)


def test_it_is_a_product_of_complex_numbers():
    x, place = placed(4)
    angles = rope_angles(place, rope_frequencies(24))
    theirs = torch.complex(x[..., :12], x[..., 12:]) * torch.polar(torch.ones_like(angles), angles)[:, None]
    torch.testing.assert_close(rotate(x, angles), torch.cat([theirs.real, theirs.imag], -1))


@pytest.mark.parametrize("head_width", [6, 16, 24, 64, 128])
def test_every_pair_turns_with_one_axis(head_width):
    table = rope_frequencies(head_width)
    assert table.shape == (3, head_width // 2)
    assert ((table > 0).sum(0) == 1).all()
    time, rows, columns = (table > 0).sum(1).tolist()
    assert rows == columns and 0 <= time - rows <= 2
    seconds = 2 * torch.pi / table[0][table[0] > 0]
    assert float(seconds[0]) == pytest.approx(0.5) and bool((seconds.diff() > 0).all())
    if time > 1:
        assert float(seconds[-1]) == pytest.approx(32)


def test_angles_are_coordinates_times_frequencies():
    frequencies, place = rope_frequencies(24), placed(6)[1]
    torch.testing.assert_close(rope_angles(place, frequencies), place @ frequencies)
    assert rope_angles(place.double(), frequencies).dtype == torch.float32
