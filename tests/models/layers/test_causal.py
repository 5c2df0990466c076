"""Causal layers against torch's convolutions with the same weights and zeros in front; caches; folding is undone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from soracli.models.layers.causal import (
    Kernel,
    PositionNorm,
    ResidualBlock,
    SpaceConv,
    Tape,
    TimeConv,
    fold_time,
    unfold,
)

EXACT = {"atol": 1e-10, "rtol": 1e-10}


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_time_conv_is_conv3d_with_zeros_in_front(kernel):
    ours = TimeConv(4, kernel).double()
    theirs = nn.Conv3d(4, 4, (kernel, 1, 1)).double()
    with torch.no_grad():
        ours.conv.bias.normal_()
        # Ours: for each output, the kernel's frames one after another, earliest first.
        theirs.weight.copy_(ours.conv.weight.unflatten(1, (kernel, 4)).transpose(1, 2)[..., None, None])
        theirs.bias.copy_(ours.conv.bias)
    x = numbers(2, 6, 3, 5, 4)
    padded = nn.functional.pad(x.movedim(-1, 1), (0, 0, 0, 0, kernel - 1, 0))
    torch.testing.assert_close(ours(x, Tape(())), theirs(padded).movedim(1, -1), **EXACT)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1)])
def test_space_conv_is_conv2d_of_every_frame(kernel, stride):
    ours = SpaceConv(3, 5, kernel, stride).double()
    theirs = nn.Conv2d(3, 5, kernel, stride, kernel // 2).double()
    with torch.no_grad():
        ours.conv.bias.normal_()
        theirs.weight.copy_(ours.conv.weight.unflatten(1, (kernel, kernel, 3)).permute(0, 3, 1, 2))
        theirs.bias.copy_(ours.conv.bias)
    x = numbers(2, 3, 8, 6, 3)
    expected = torch.stack([theirs(video.movedim(-1, 1)).movedim(1, -1) for video in x])
    torch.testing.assert_close(ours(x), expected, **EXACT)


def test_kernels_are_matrices():
    assert Kernel(3, 5, 3).weight.shape == (5, 27)


def test_position_norm_is_torchs_over_channels():
    ours, theirs = PositionNorm(6).double(), nn.RMSNorm(6, eps=1e-6).double()
    with torch.no_grad():
        ours.gain.normal_()
        theirs.weight.copy_(ours.gain)
    x = numbers(2, 3, 4, 6)
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


def test_a_residual_block_starts_as_the_identity():
    x = numbers(1, 3, 5, 5, 4)
    assert torch.equal(ResidualBlock(4).double()(x, Tape(())), x)


@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=5), kernel=st.integers(2, 4))
def test_a_cache_stands_for_the_past(cuts, kernel):
    """Chunks may be shorter than what the convolution remembers."""
    conv = TimeConv(3, kernel).double()
    x = numbers(1, sum(cuts), 2, 2, 3)
    cache, pieces = (), []
    for chunk in x.split(cuts, 1):
        tape = Tape(cache)
        pieces.append(conv(chunk, tape))
        cache = tape.cache
        assert [part.shape[1] for part in cache] == [kernel - 1]
    torch.testing.assert_close(torch.cat(pieces, 1), conv(x, Tape(())), **EXACT)


def test_a_cache_holds_its_frames_and_no_more_memory():
    tape = Tape(())
    TimeConv(3)(torch.randn(1, 50, 2, 2, 3), tape)
    assert [part.untyped_storage().nbytes() for part in tape.cache] == [2 * 3 * 2 * 2 * 4]


@given(latents=st.integers(1, 4), stride=st.integers(1, 3), begins=st.booleans())
def test_unfolding_undoes_folding(latents, stride, begins):
    tape = Tape(() if begins else (torch.zeros(0),))
    x = numbers(2, 1 + (latents - 1) * stride if begins else latents * stride, 2, 2, 3)
    folded = fold_time(x, stride, tape)
    assert folded.shape == (2, latents, 2, 2, stride * 3)
    assert torch.equal(unfold(folded[..., None, :], 1, stride, tape), x)
    if begins:
        assert torch.equal(folded[:, 0, ..., -3:], x[:, 0]) and not folded[:, 0, ..., :-3].any()


def test_unfolding_space_is_depth_to_space():
    x = numbers(1, 2, 3, 5, 4, 6)
    expected = nn.functional.pixel_shuffle(x[0].movedim((3, 4), (2, 1)).flatten(1, 2), 2)
    torch.testing.assert_close(unfold(x, 2, 1, Tape(()))[0], expected.movedim(1, -1), **EXACT)


def test_layers_give_what_the_next_one_reads_in_place():
    """Channels lie last in memory: a rearrangement between layers took a third of the time once."""
    x, tape = torch.randn(1, 3, 4, 4, 8), Tape(())
    for made in (SpaceConv(8, 8)(x), SpaceConv(8, 8, stride=2)(x), TimeConv(8)(x, tape), ResidualBlock(8)(x, tape)):
        assert made.is_contiguous()
