"""Rearranging axes without einops, against einops."""

import einops
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.models.plain_rearrange import rearrange


@given(data=st.data())
def test_any_pattern_is_what_einops_makes_of_it(data):
    """Names in any order, brackets anywhere; sizes of all but the first name of each pair of brackets are given."""
    names = [f"x{number}" for number in range(data.draw(st.integers(1, 6)))]
    size = {name: data.draw(st.integers(1, 4)) for name in names}

    def grouped(order):
        cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(order) - 1)))) - {len(order)})
        return [order[low:high] for low, high in zip([0, *cuts], [*cuts, len(order)], strict=True)]

    left, right = grouped(names), grouped(data.draw(st.permutations(names)))
    sides = [
        " ".join(f"({' '.join(group)})" if len(group) > 1 else group[0] for group in side) for side in (left, right)
    ]
    shape = [int(torch.tensor([size[name] for name in group]).prod()) for group in left]
    known = {name: size[name] for group in left for name in group[1:]}
    tensor = torch.arange(int(torch.tensor(shape).prod())).reshape(shape)
    pattern = " -> ".join(sides)
    assert torch.equal(rearrange(tensor, pattern, **known), einops.rearrange(tensor, pattern, **known))


def test_a_shape_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="an axis of 7 is no a = 3 by b = 2"):
        rearrange(torch.zeros(7), "(a b) -> b a", b=2)
