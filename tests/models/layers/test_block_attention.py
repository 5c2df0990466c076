"""Attention in blocks against the loop over segments, and its list of blocks against the mask written out."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.attention import flex_attention as flex
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from soracli.models.layers import attention
from soracli.models.layers.attention import attend_segments
from soracli.models.layers.block_attention import BLOCK, attend_blocks, block_mask, compiled_kernel
from soracli.models.layers.segment import Segment

CPU = torch.device("cpu")
long_and_short = st.lists(st.one_of(st.integers(1, 40), st.integers(100, 400)), min_size=1, max_size=5)


@pytest.fixture
def plain(monkeypatch):
    """On a CPU flex_attention is what it says in plain operations, without a compiler and the advice to use one."""
    monkeypatch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex, "_warn_once", lambda *given, **named: None)


def drawn(lengths: list[int], seed: int) -> list[Segment]:
    """Without a mask, with a random one, or with what generation in blocks gives: stretches that see the earlier."""
    torch.manual_seed(seed)
    segments = []
    for length in lengths:
        kind = int(torch.randint(3, (1,)))
        stretch = torch.arange(length) * 3 // length
        random = (torch.rand(length, length) < 0.3) | torch.eye(length, dtype=torch.bool)
        segments.append(Segment(length, (None, random, stretch[:, None] >= stretch)[kind]))
    return segments


def written_out(segments: list[Segment]) -> torch.Tensor:
    masks = [
        torch.ones(part.length, part.length, dtype=torch.bool) if part.mask is None else part.mask for part in segments
    ]
    return torch.block_diag(*masks).bool()


@pytest.mark.usefixtures("plain")
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=long_and_short, seed=st.integers(0, 1000))
def test_in_blocks_is_one_by_one(lengths, seed):
    segments = drawn(lengths, seed)
    parts = [torch.randn(sum(lengths), 2, 8, dtype=torch.float64) for _ in range(3)]
    found = attend_blocks(*parts, segments, flex_attention)
    torch.testing.assert_close(found, attend_segments(*parts, segments, None), atol=1e-10, rtol=1e-10)


@pytest.mark.usefixtures("plain")
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=long_and_short, seed=st.integers(0, 1000))
def test_blocks_are_those_of_the_mask_written_out(lengths, seed):
    """Those that torch finds in the whole square, whole ones and parts."""
    segments = drawn(lengths, seed)
    total, everything = sum(lengths), written_out(segments)
    ours = block_mask(segments, CPU)
    theirs = create_block_mask(lambda b, h, q, k: everything[q, k], None, None, total, total, device="cpu")
    assert torch.equal(ours.to_dense(), theirs.to_dense())
    place = torch.arange(total)
    seen = ours.mask_mod(torch.tensor(0), torch.tensor(0), place[:, None], place)
    assert torch.equal(seen, everything)
    whole = torch.zeros(-(-total // BLOCK), -(-total // BLOCK), dtype=torch.bool)
    for row, count in enumerate(ours.full_kv_num_blocks[0, 0].tolist()):
        for column in ours.full_kv_indices[0, 0, row, :count].tolist():
            whole[row, column] = True
            square = everything[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
            assert square.shape == (BLOCK, BLOCK) and square.all()
    assert int(whole.sum()) == sum(
        bool(everything[row : row + BLOCK, column : column + BLOCK].all())
        for row in range(0, total - BLOCK + 1, BLOCK)
        for column in range(0, total - BLOCK + 1, BLOCK)
    )


def test_a_mask_is_made_once_for_all_layers():
    segments = tuple(drawn([5, 150], 0))
    parts = [torch.randn(155, 2, 8) for _ in range(3)]
    masks = []

    def kernel(q, k, v, block_mask):
        masks.append(block_mask)
        return q

    for again in (segments, segments, tuple(drawn([5, 150], 1))):
        attend_blocks(*parts, again, kernel)
    assert masks[0] is masks[1] and masks[2] is not masks[0]


@pytest.mark.usefixtures("plain")
def test_where_it_is_taken(monkeypatch):
    """Behind the same function, if there is a kernel, no past and more than one segment."""
    monkeypatch.setattr(attention, "_has_block_kernel", lambda x: True)
    monkeypatch.setattr(attention, "compiled_kernel", lambda: flex_attention)
    called = []
    monkeypatch.setattr(attention, "attend_blocks", lambda *given: called.append(1) or attend_blocks(*given))
    parts = [torch.randn(30, 2, 8) for _ in range(3)]
    for lengths, past, expected in (([10, 20], None, 1), ([30], None, 0), ([10, 20], "some", 0)):
        segments = drawn(lengths, 3)
        keys = [attention.Keys(torch.randn(4, 2, 8), torch.randn(4, 2, 8)) for _ in lengths] if past else None
        attend_segments(*parts, segments, keys)
        assert len(called) == expected
        called.clear()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_on_a_gpu_is_one_by_one_forward_and_back(dtype, monkeypatch):
    close = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.05}
    for seed, lengths in enumerate([[40, 300, 7], [128, 128], [900, 33, 256, 5]]):
        segments = [
            Segment(part.length, None if part.mask is None else part.mask.cuda()) for part in drawn(lengths, seed)
        ]
        parts = [torch.randn(sum(lengths), 4, 64, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3)]
        upstream = torch.randn(sum(lengths), 256, device="cuda", dtype=dtype)
        found = attend_blocks(*parts, segments, compiled_kernel())
        with monkeypatch.context() as patch:
            patch.setattr(attention, "_has_block_kernel", lambda x: False)
            expected = attend_segments(*parts, segments, None)
        torch.testing.assert_close(found, expected, **close)
        for one, other in zip(
            torch.autograd.grad((found * upstream).sum(), parts),
            torch.autograd.grad((expected * upstream).sum(), parts),
            strict=True,
        ):
            torch.testing.assert_close(one, other, **close)
