"""Degradations: range and shape for all draws, and each against what it must do to simple pictures."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.data.degrade import (
    degrade_frames,
    down_and_up,
    gaussian_blur,
    round_blocks,
    without_faint_detail,
)


def picture():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@given(st.integers(0, 2**31))
def test_any_draw_keeps_shape_and_range_and_can_be_drawn_again(seed):
    strengths = {"blur": 2.2, "noise": 0.05, "colour_shift": 0.06, "blocks": 0.25, "faint": 0.08}
    once, again = (degrade_frames(picture(), torch.Generator().manual_seed(seed), **strengths) for _ in range(2))
    assert torch.equal(once, again)
    assert once.shape == (3, 3, 32, 32)
    assert once.min() >= 0
    assert once.max() <= 1
    assert (once - picture()).abs().mean() < 0.35


def test_blur_keeps_the_mean_and_takes_contrast():
    blurred = gaussian_blur(picture(), 1.0)
    assert torch.allclose(blurred.mean(), picture().mean(), atol=0.01)
    assert blurred.std() < 0.5 * picture().std()
    assert torch.allclose(gaussian_blur(torch.full((1, 3, 16, 16), 0.3), 2.0), torch.tensor(0.3))


def test_down_and_up_leaves_flat_pictures_alone():
    assert torch.allclose(down_and_up(torch.full((1, 3, 16, 16), 0.3), 2), torch.tensor(0.3))
    assert down_and_up(picture(), 2).shape == picture().shape


def test_blocks_are_rounded_more_by_coarser_steps_and_not_at_all_by_fine_ones():
    errors = [float((round_blocks(picture(), step) - picture()).abs().mean()) for step in (1e-4, 0.02, 0.1)]
    assert errors[0] < 1e-3 < errors[1] < errors[2]


def test_faint_detail_goes_and_edges_stay():
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 0.02 + 0.4
    board = board.expand(1, 3, -1, -1).clone()
    assert without_faint_detail(board, 2.0, 0.05)[..., 6:-6, 6:-6].std() < 0.1 * board.std()
    board[..., 16:] = 0.9
    assert without_faint_detail(board, 2.0, 0.05)[..., 17].mean() - 0.4 > 0.4
