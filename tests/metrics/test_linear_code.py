"""The linear code: exact at full size, the optimum of torch.linalg.svd below, and each kind of patch on its own."""

import pytest
import torch
from torch import Tensor

from soracli.metrics.linear_code import LinearCode, fit_linear_code

T, H, W = 2, 4, 4


def _clips(count: int = 24, frames: int = 5) -> Tensor:
    """Videos ``(B, 3, frames, 16, 24)`` with strong and weak directions, as pictures have."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn((count, 3, frames, 4, 6), generator=generator).repeat_interleave(4, 3).repeat_interleave(4, 4)
    return 0.3 * coarse + 0.05 * torch.randn((count, 3, frames, 16, 24), generator=generator)


def _decoded(code: LinearCode, clips: Tensor) -> Tensor:
    return code.decode(code.encode(clips))


def _patch_rows(clips: Tensor, t: int) -> Tensor:
    """Patches ``(N, 3 t h w)`` by plain slicing."""
    rows = [
        clips[b, :, f : f + t, y : y + H, x : x + W].reshape(-1)
        for b in range(clips.shape[0])
        for f in range(0, clips.shape[2], t)
        for y in range(0, clips.shape[3], H)
        for x in range(0, clips.shape[4], W)
    ]
    return torch.stack(rows).double()


def test_exact_when_there_are_as_many_channels_as_numbers() -> None:
    clips = _clips()
    code = fit_linear_code(clips, (T, H, W), 3 * T * H * W)
    assert code.encode(clips).shape == (24, 96, 3, 4, 6)
    torch.testing.assert_close(_decoded(code, clips), clips, atol=2e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 6, 20])
def test_error_is_the_least_possible(channels: int) -> None:
    clips = _clips()
    code = fit_linear_code(clips, (T, H, W), channels)
    decoded = _decoded(code, clips)
    for part, t in ((slice(0, 1), 1), (slice(1, None), T)):
        rows = _patch_rows(clips[:, :, part], t)
        values = torch.linalg.svdvals(rows - rows.mean(0))
        error = (decoded[:, :, part].double() - clips[:, :, part].double()).square().sum()
        assert error.item() == pytest.approx(values[channels:].square().sum().item(), rel=1e-4)


def test_latents_are_where_their_frames_are() -> None:
    """Changing one patch changes one latent position, and the first frame only its own."""
    clips = _clips()
    code = fit_linear_code(clips, (T, H, W), 8)
    changed = clips[:1].clone()
    changed[:, :, 3:, 8:12, 4:8] += 0.1
    moved = (code.encode(changed) - code.encode(clips[:1])).abs().amax((0, 1)) > 1e-6
    assert moved.nonzero().tolist() == [[2, 2, 1]]
    alone = code.encode(clips[:1, :, :1])
    torch.testing.assert_close(alone, code.encode(clips[:1])[:, :, :1])


def test_directions_are_orthonormal_and_sorted() -> None:
    clips = _clips()
    code = fit_linear_code(clips, (T, H, W), 12)
    for basis in (code.first, code.later):
        torch.testing.assert_close(basis.directions @ basis.directions.T, torch.eye(12), atol=1e-5, rtol=0)
    power = code.encode(clips)[:, :, 1:].square().mean((0, 2, 3, 4))
    assert (power.diff() <= 1e-6).all()


def test_more_channels_than_numbers_are_left_empty() -> None:
    clips = _clips()
    code = fit_linear_code(clips, (T, H, W), 60)
    assert code.first.directions[48:].abs().max() == 0
    torch.testing.assert_close(_decoded(code, clips)[:, :, :1], clips[:, :, :1], atol=2e-5, rtol=0)


def test_pictures_alone_are_enough() -> None:
    clips = _clips()
    code = fit_linear_code(clips[:, :, :1], (T, H, W), 48)
    decoded = _decoded(code, clips)
    torch.testing.assert_close(decoded[:, :, :1], clips[:, :, :1], atol=2e-5, rtol=0)
    assert decoded[:, :, 1:].abs().max() == 0


def test_misfits_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        fit_linear_code([], (T, H, W), 4)
    with pytest.raises(ValueError, match="do not fit"):
        fit_linear_code(_clips()[:, :, :4], (T, H, W), 4)
