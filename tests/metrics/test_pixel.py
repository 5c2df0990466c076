"""PSNR and SSIM: against naive loops over windows written here, the formula by hand, and ffmpeg's own ssim filter."""

import math
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from soracli.metrics.pixel import MAX_PSNR, psnr, ssim


def _pair(seed: int, shape: tuple[int, ...] = (2, 3, 2, 15, 18), noise: float = 0.2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(shape, generator=generator) * 2 - 1
    return (frames + noise * torch.randn(shape, generator=generator)).clamp(-1, 1), frames


def _naive_ssim_map(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Wang 2004 on two grey pictures 0 to 255, one window at a time, float64."""
    window = np.array([[math.exp(-((y - 5) ** 2 + (x - 5) ** 2) / (2 * 1.5**2)) for x in range(11)] for y in range(11)])
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    result = np.empty((ours.shape[0] - 10, ours.shape[1] - 10))
    for y in range(result.shape[0]):
        for x in range(result.shape[1]):
            a, b = ours[y : y + 11, x : x + 11], theirs[y : y + 11, x : x + 11]
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            both = (window * (a - mean_a) * (b - mean_b)).sum()
            above = (2 * mean_a * mean_b + c1) * (2 * both + c2)
            result[y, x] = above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return result


def _grey_255(video: Tensor) -> np.ndarray:
    """``(3, T, H, W)`` to luma ``(T, H, W)`` in 0 to 255."""
    red, green, blue = ((video.double() + 1) * 127.5).numpy()
    return 0.299 * red + 0.587 * green + 0.114 * blue


@pytest.mark.parametrize("seed", [0, 1])
def test_ssim_equals_a_naive_one(seed: int) -> None:
    decoded, frames = _pair(seed)
    mask = torch.rand((2, 2, 15, 18), generator=torch.Generator().manual_seed(9)) > 0.4
    whole, inside = ssim(decoded, frames), ssim(decoded, frames, mask)
    for b in range(2):
        maps = np.stack(
            [_naive_ssim_map(*pair) for pair in zip(_grey_255(decoded[b]), _grey_255(frames[b]), strict=True)]
        )
        assert whole[b].item() == pytest.approx(maps.mean(), abs=2e-5)
        assert inside[b].item() == pytest.approx(maps[mask[b, :, 5:-5, 5:-5].numpy()].mean(), abs=2e-5)


def test_ssim_is_near_what_ffmpeg_says(tmp_path: Path) -> None:
    """Its windows are 8 x 8 squares without weights, so only about, and on a texture finer than both windows."""
    texture, noise = torch.randn((2, 96, 96), generator=torch.Generator().manual_seed(0))
    smooth = (0.4 * texture).clamp(-1, 1).expand(1, 3, 1, 96, 96)
    for strength in (0.02, 0.1, 0.3):
        noisy = (smooth + strength * noise).clamp(-1, 1)
        for name, video in (("a.gray", smooth), ("b.gray", noisy)):
            (tmp_path / name).write_bytes(((video[0, 0, 0] + 1) * 127.5).round().to(torch.uint8).numpy().tobytes())
        given = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "96x96", "-i"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *given, str(tmp_path / "a.gray"), *given, str(tmp_path / "b.gray")]
        result = subprocess.run(
            [*command, "-lavfi", "ssim", "-f", "null", "-"], capture_output=True, text=True, check=True
        )
        theirs = float(re.findall(r"All:([0-9.]+)", result.stderr)[-1])
        assert ssim(noisy, smooth).item() == pytest.approx(theirs, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), noise=st.floats(0.01, 1))
def test_psnr_equals_the_formula_on_bytes(seed: int, noise: float) -> None:
    decoded, frames = _pair(seed, noise=noise)
    mask = torch.rand((2, 2, 15, 18), generator=torch.Generator().manual_seed(seed)) > 0.5
    ours, theirs = (((video.double() + 1) * 127.5).numpy() for video in (decoded, frames))
    for b in range(2):
        error = (ours[b] - theirs[b]) ** 2
        assert psnr(decoded, frames)[b].item() == pytest.approx(10 * math.log10(255**2 / error.mean()), abs=1e-6)
        inside = error[:, mask[b].numpy()].mean()
        assert psnr(decoded, frames, mask)[b].item() == pytest.approx(10 * math.log10(255**2 / inside), abs=1e-6)


def test_equal_videos_score_the_most() -> None:
    _, frames = _pair(3)
    assert psnr(frames, frames).tolist() == [MAX_PSNR] * 2
    assert ssim(frames, frames).tolist() == pytest.approx([1, 1], abs=1e-6)


def test_a_mask_looks_only_inside() -> None:
    decoded, frames = _pair(4)
    mask = torch.zeros(2, 2, 15, 18, dtype=torch.bool)
    mask[:, :, :4] = True
    repaired = torch.where(mask[:, None], frames, decoded)
    assert psnr(repaired, frames, mask).tolist() == [MAX_PSNR] * 2
    assert (psnr(repaired, frames, ~mask) < 30).all()
    assert psnr(decoded, frames, torch.ones_like(mask)).equal(psnr(decoded, frames))
    assert psnr(decoded, frames, torch.zeros_like(mask)).isnan().all()


def test_wrong_shapes_are_refused() -> None:
    decoded, frames = _pair(5)
    with pytest.raises(ValueError, match="alike"):
        psnr(decoded[:1], frames)
    with pytest.raises(ValueError, match="mask"):
        psnr(decoded, frames, torch.ones(2, 2, 15, 17))
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(decoded[..., :10], frames[..., :10])
