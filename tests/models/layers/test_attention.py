"""Attention packed against each sample alone, against torch's, with a past against all at once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from soracli.models.layers.attention import (
    Keys,
    RMSNorm,
    SelfAttention,
)
from soracli.models.layers.rope import rope_angles, rope_frequencies, rotate
from soracli.models.layers.segment import Segment
from soracli.models.layers.written_attention import attend
from tests.models.tiny import stir

DIM, HEADS = 16, 2
EXACT = {"atol": 1e-10, "rtol": 1e-10}


def made() -> SelfAttention:
    torch.manual_seed(0)
    return stir(SelfAttention(DIM, HEADS)).double()


def tokens(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and their angles."""
    coordinates = torch.rand(length, 3) * torch.tensor([4.0, 1.0, 1.0])
    return torch.randn(length, DIM, dtype=torch.float64), rope_angles(coordinates, rope_frequencies(DIM // HEADS))


def random_mask(length: int) -> torch.Tensor | None:
    """Sometimes none; every token sees itself."""
    return None if torch.rand(1) < 0.3 else (torch.rand(length, length) < 0.5) | torch.eye(length, dtype=torch.bool)


@settings(max_examples=20)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_packed_is_alone(lengths, seed):
    attention = made()
    torch.manual_seed(seed)
    x, angles = tokens(sum(lengths))
    x.requires_grad_()
    segments = [Segment(length, random_mask(length)) for length in lengths]
    upstream = torch.randn(sum(lengths), DIM, dtype=torch.float64)

    packed, keys = attention(x, angles, segments)
    assert [len(kept.key) for kept in keys] == lengths
    (packed * upstream).sum().backward()
    gradients = [x.grad.clone(), *(weight.grad.clone() for weight in attention.parameters())]
    x.grad = None
    attention.zero_grad()
    alone = torch.cat(
        [
            attention(one, turned, [segment])[0]
            for one, turned, segment in zip(x.split(lengths), angles.split(lengths), segments, strict=True)
        ]
    )
    (alone * upstream).sum().backward()
    torch.testing.assert_close(packed, alone, **EXACT)
    for one, other in zip(gradients, [x.grad, *(weight.grad for weight in attention.parameters())], strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_packed_is_torchs_multi_head_attention_of_a_padded_batch():
    """Without norms and at angle 0 nothing else is left."""
    ours, lengths = made(), [3, 7, 5]
    ours.query_norm = ours.key_norm = nn.Identity()
    theirs = nn.MultiheadAttention(DIM, HEADS, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, angles = tokens(sum(lengths))
    padded = nn.utils.rnn.pad_sequence(x.split(lengths), batch_first=True)
    empty = torch.arange(7) >= torch.tensor(lengths)[:, None]
    expected = theirs(padded, padded, padded, key_padding_mask=empty)[0]
    packed = ours(x, torch.zeros_like(angles), [Segment(length) for length in lengths])[0]
    torch.testing.assert_close(packed, expected[~empty], **EXACT)


def test_packed_is_attention_written_out_with_norms_angles_and_masks():
    ours, lengths = made(), [4, 6]
    x, angles = tokens(10)
    masks = [random_mask(length) for length in lengths]
    packed = ours(x, angles, [Segment(*pair) for pair in zip(lengths, masks, strict=True)])[0]
    expected = []
    for one, turned, mask in zip(x.split(lengths), angles.split(lengths), masks, strict=True):
        q, k, v = (
            part.unflatten(1, (HEADS, -1))
            for part in functional.linear(one, ours.qkv.weight, ours.qkv.bias).chunk(3, 1)
        )
        q, k = (
            part * (part.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * norm.gain
            for part, norm in ((q, ours.query_norm), (k, ours.key_norm))
        )
        scores = torch.einsum("ind,jnd->nij", rotate(q, turned), rotate(k, turned)) / (DIM // HEADS) ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        mixed = torch.einsum("nij,jnd->ind", scores.softmax(-1), v).flatten(1)
        expected.append(functional.linear(mixed, ours.out.weight, ours.out.bias))
    torch.testing.assert_close(packed, torch.cat(expected), **EXACT)


@pytest.mark.parametrize("masked", [False, True])
def test_a_past_stands_for_earlier_tokens(masked):
    """One sequence in which the later tokens see the earlier ones, against two passes."""
    attention, before, after = made(), [3, 5], [4, 2]
    first, first_angles = tokens(sum(before))
    second, second_angles = tokens(sum(after))
    inner = [random_mask(length) if masked else None for length in after]
    wholes = []
    for one, other, a, b, mask in zip(
        zip(first.split(before), first_angles.split(before), strict=True),
        zip(second.split(after), second_angles.split(after), strict=True),
        before, after, inner, strict=True,
    ):  # fmt: skip
        sees = torch.ones(a + b, a + b, dtype=torch.bool)
        sees[:a, a:] = False
        if mask is not None:
            sees[a:, a:] = mask
        both = [torch.cat(parts) for parts in zip(one, other, strict=True)]
        wholes.append(attention(*both, [Segment(a + b, sees)])[0])

    early, keys = attention(first, first_angles, [Segment(length) for length in before])
    segments = [Segment(length, mask) for length, mask in zip(after, inner, strict=True)]
    turned = [
        Keys(rotate(kept.key, angles), kept.value)
        for kept, angles in zip(keys, first_angles.split(before), strict=True)
    ]
    late, own = attention(second, second_angles, segments, turned)
    assert [len(kept.key) for kept in own] == after
    for part, length, whole in zip(early.split(before), before, wholes, strict=True):
        torch.testing.assert_close(part, whole[:length], **EXACT)
    for part, length, whole in zip(late.split(after), before, wholes, strict=True):
        torch.testing.assert_close(part, whole[length:], **EXACT)


def test_an_empty_past_is_none():
    attention = made()
    x, angles = tokens(5)
    nothing = attention(x[:0], angles[:0], [Segment(0)])[1]
    assert torch.equal(attention(x, angles, [Segment(5)], nothing)[0], attention(x, angles, [Segment(5)])[0])


def test_rms_norm_is_torchs():
    ours, theirs = RMSNorm(6), nn.RMSNorm(6, eps=1e-6)
    x = torch.randn(3, 6)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_on_the_cpu_is_attention_in_double_precision(masked):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, length, 8).bfloat16() for length in (5, 9, 9))
    mask = (torch.rand(5, 9) < 0.5) | (torch.arange(9) == 0) if masked else None
    expected = functional.scaled_dot_product_attention(query.double(), key.double(), value.double(), mask)
    torch.testing.assert_close(attend(query, key, value, mask).double(), expected, atol=0.03, rtol=0.03)
