"""Attention run by run against attention under masks, with its gradients; what a plan computes and what not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from soracli.models.layers.run_attention import attend_runs, find_runs, plan_runs, repeated, similar_sizes
from soracli.models.layers.segment import Segment
from soracli.models.tokens import TEXT_BLOCK, visibility

EXACT = {"atol": 1e-10, "rtol": 1e-10}


@st.composite
def masks(draw: st.DrawFn) -> torch.Tensor | None:
    """Of a text, clean blocks and noisy copies of them; or any at all; or none."""
    kind = draw(st.sampled_from(["none", "any", "training"]))
    if kind == "none":
        return None
    if kind == "any":
        length = draw(st.integers(1, 12))
        seen = torch.tensor(draw(st.lists(st.booleans(), min_size=length**2, max_size=length**2))).view(length, length)
        return seen | torch.eye(length, dtype=torch.bool)
    lengths, blocks, clean, copies = [draw(st.integers(0, 4))], [TEXT_BLOCK], [True], [0]
    for block in range(1, draw(st.integers(1, 3)) + 1):
        tokens = draw(st.integers(1, 5))
        for copy in range(draw(st.integers(1, 3)) + 1):
            lengths.append(tokens)
            blocks.append(block)
            clean.append(copy == 0)
            copies.append(max(0, copy - 1))
    return visibility(lengths, blocks, clean, copies)


@st.composite
def sequences(draw: st.DrawFn) -> list[Segment]:
    segments = []
    for _ in range(draw(st.integers(1, 4))):
        mask = draw(masks())
        segments.append(Segment(draw(st.integers(1, 12)) if mask is None else len(mask), mask))
    return segments


def one_by_one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: list[Segment]) -> torch.Tensor:
    """The same by torch, segment by segment."""
    lengths, outputs = [segment.length for segment in segments], []
    for segment, *parts in zip(segments, *(part.split(lengths) for part in (query, key, value)), strict=True):
        q, k, v = (part.transpose(0, 1) for part in parts)
        outputs.append(scaled_dot_product_attention(q, k, v, segment.mask).transpose(0, 1).flatten(1))
    return torch.cat(outputs)


@settings(max_examples=60)
@given(segments=sequences(), seed=st.integers(0, 1000))
def test_it_is_attention_under_the_masks_and_so_are_its_gradients(segments: list[Segment], seed: int) -> None:
    torch.manual_seed(seed)
    total = sum(segment.length for segment in segments)
    parts = [torch.randn(total, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    upstream = torch.randn(total, 16, dtype=torch.float64)
    ours, theirs = attend_runs(*parts, segments), one_by_one(*parts, segments)
    torch.testing.assert_close(ours, theirs, **EXACT)
    for one, other in zip(
        torch.autograd.grad((ours * upstream).sum(), parts),
        torch.autograd.grad((theirs * upstream).sum(), parts),
        strict=True,
    ):
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_numbers_to_their_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    segments = [
        Segment(20),
        Segment(30, visibility([6, 8, 8, 8], [-1, 1, 1, 1], [True, True, False, False], [0, 0, 0, 1])),
    ]
    parts = [torch.randn(50, 2, 8, dtype=dtype, requires_grad=True) for _ in range(3)]
    doubled = [part.detach().double().requires_grad_() for part in parts]
    ours, theirs = attend_runs(*parts, segments), one_by_one(*doubled, segments)
    near = {"atol": 0.03, "rtol": 0.03} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(ours.double(), theirs, **near)
    for one, other in zip(
        torch.autograd.grad(ours.sum(), parts), torch.autograd.grad(theirs.sum(), doubled), strict=True
    ):
        torch.testing.assert_close(one.double(), other, **near)


def test_copies_of_a_block_do_not_pay_for_one_another() -> None:
    """A text of 10, two clean blocks and four noisy copies of each of 20: what each of those sees, and no more."""
    blocks, clean, copies = (
        [TEXT_BLOCK, 1, 2, *[1] * 4, *[2] * 4],
        [True] * 3 + [False] * 8,
        [0, 0, 0, *range(4), *range(4)],
    )
    segment = Segment(210, visibility([10, *[20] * 10], blocks, clean, copies))
    sizes = sorted(run.size for run in find_runs([segment]))
    assert sizes == [(10, 10), *[(20, 30)] * 5, *[(20, 50)] * 5]
    plan = plan_runs((segment,))
    computed = sum(count * r * c for count, r, c in plan.sizes)
    assert computed == int(segment.mask.sum()) == 10 * 10 + 5 * 20 * 30 + 5 * 20 * 50 < 210 * 210 / 5


@given(sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 900)), min_size=1, max_size=40))
def test_groups_hold_every_run_once_and_fill_up_little(sizes: list[tuple[int, int]]) -> None:
    groups = similar_sizes(sizes)
    assert sorted(number for group in groups for number in group) == list(range(len(sizes)))
    for group in groups:
        for side in zip(*(sizes[number] for number in group), strict=True):
            assert 4 * min(side) >= 3 * max(side)
        assert (
            len(group) == 1 or len(group) * max(sizes[n][0] for n in group) * max(sizes[n][1] for n in group) <= 2**21
        )


def test_a_plan_is_made_once_for_the_same_segments_and_anew_for_others() -> None:
    segments = (Segment(3), Segment(4))
    assert plan_runs(segments) is plan_runs(segments)
    assert plan_runs((Segment(3), Segment(4))) is not plan_runs(segments)


def test_rows_that_nobody_uses_have_no_gradient() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    there = torch.tensor([2, 0, 3, 2])
    found = repeated(x, there, torch.tensor([1, 0, 3]), torch.tensor([0, 1, 1]))
    torch.testing.assert_close(found, torch.stack([x[2], x[0], torch.zeros(4), x[2]]))
    found.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 0.0, 2.0])[:, None].expand(3, 4))


def test_a_plan_made_in_inference_mode_serves_a_pass_with_gradients() -> None:
    segments = [Segment(3, None), Segment(4, torch.ones(4, 4, dtype=torch.bool).tril())]
    query = torch.randn(7, 2, 4, requires_grad=True)
    with torch.inference_mode():
        sampled = attend_runs(query, query, query, segments)
    trained = attend_runs(query, query, query, segments)
    trained.sum().backward()
    assert torch.equal(sampled, trained) and query.grad is not None
