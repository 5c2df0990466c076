"""The discriminator, against a plain version with matrices for filters; its edges, its sizes, its cost."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from soracli.models.config import DiscriminatorConfig, VAEConfig
from soracli.models.discriminator import PatchDiscriminator, blur_halve
from soracli.models.video_vae import VideoVAE
from tests.models.tiny import random_frames, stir

TINY = DiscriminatorConfig(widths=(4, 5, 6), temporal_strides=(1, 2))


def tiny_discriminator(dtype: torch.dtype = torch.float64) -> PatchDiscriminator:
    torch.manual_seed(0)
    return stir(PatchDiscriminator(TINY)).to(dtype)


def filter_matrix(length: int) -> Tensor:
    """Rows are outputs: 1/4, 1/2, 1/4 around every second value, what would lie outside counted to the end value."""
    rows = torch.zeros((length + 1) // 2, length, dtype=torch.float64)
    for row in range(len(rows)):
        for offset, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            rows[row, min(max(2 * row + offset, 0), length - 1)] += weight
    return rows


def plain_logits(model: PatchDiscriminator, frames: Tensor) -> Tensor:
    """The same network by matrices over the axes and convolutions of padded volumes."""

    def convolve(x: Tensor, layer: str, gain: float) -> Tensor:
        x = functional.pad(x, (0, 0, 0, 0, 1, 1), mode="replicate")
        weight = model.get_parameter(f"{layer}.weight")
        kernel = weight * (gain / math.sqrt(weight[0].numel()))
        return functional.conv3d(functional.pad(x, (1, 1, 1, 1)), kernel, model.get_parameter(f"{layer}.bias"))

    gain = math.sqrt(2 / 1.04)
    x = convolve(frames, "stem", gain)
    x = torch.maximum(x, 0.2 * x)
    for index, stride in enumerate(model.config.temporal_strides):
        down, across = filter_matrix(x.shape[3]), filter_matrix(x.shape[4])
        x = torch.einsum("bcthw,yh,xw->bctyx", x, down, across)
        if stride == 2:
            x = torch.einsum("bcthw,st->bcshw", x, filter_matrix(x.shape[2]))
        x = convolve(x, f"levels.{index}", gain)
        strength = (x.pow(2).sum(1, keepdim=True) / x.shape[1] + 1e-6).sqrt()
        x = x / strength * model.get_parameter(f"norms.{index}.gain").view(-1, 1, 1, 1)
        x = torch.maximum(x, 0.2 * x)
    return convolve(x, "head", 1.0)[:, 0]


@pytest.mark.parametrize("shape", [(2, 3, 5, 16, 12), (1, 3, 1, 16, 16), (1, 3, 6, 9, 7)])
def test_logits_are_those_of_the_plain_version(shape: tuple[int, ...]) -> None:
    model, frames = tiny_discriminator(), random_frames(*shape, dtype=torch.float64)
    torch.testing.assert_close(model(frames), plain_logits(model, frames), rtol=1e-10, atol=1e-10)


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 33), st.integers(1, 33))
def test_any_size_gives_a_logit_for_every_patch(num_frames: int, height: int, width: int) -> None:
    model = tiny_discriminator(torch.float32)
    with torch.no_grad():
        logits = model(random_frames(1, 3, num_frames, height, width))
    time, side, _ = TINY.compression
    assert logits.shape == (1, math.ceil(num_frames / time), math.ceil(height / side), math.ceil(width / side))
    assert logits.isfinite().all()


def test_the_default_takes_a_picture_of_16_by_16() -> None:
    assert DiscriminatorConfig().compression == (4, 8, 8)
    assert PatchDiscriminator(DiscriminatorConfig())(random_frames(2, 3, 1, 16, 16)).shape == (2, 1, 2, 2)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("dim", [0, 1])
def test_the_filter_is_its_matrix(length: int, dim: int) -> None:
    x = torch.randn((length, 3) if dim == 0 else (3, length), dtype=torch.float64)
    expected = filter_matrix(length) @ x if dim == 0 else x @ filter_matrix(length).T
    torch.testing.assert_close(blur_halve(x, dim), expected)


def test_the_filter_takes_away_what_the_coarser_grid_cannot_hold() -> None:
    fastest = torch.tensor([1.0, -1.0]).repeat(8)
    assert torch.equal(blur_halve(fastest, 0)[1:], torch.zeros(7))
    assert torch.equal(blur_halve(torch.ones(15), 0), torch.ones(8))
    # A wave of four values a period is halved and keeps its place.
    slow = torch.cos(torch.arange(16) * math.pi / 2)
    torch.testing.assert_close(blur_halve(slow, 0)[1:], 0.5 * slow[2::2])


def test_a_picture_is_a_video_in_which_nothing_moves() -> None:
    model, picture = tiny_discriminator(), random_frames(2, 3, 1, 12, 16, dtype=torch.float64)
    alone = model(picture)
    for num_frames in (2, 5, 8):
        still = model(picture.expand(-1, -1, num_frames, -1, -1))
        torch.testing.assert_close(still, alone.expand_as(still), rtol=1e-10, atol=1e-10)


def test_a_logit_does_not_depend_on_other_samples_but_on_movement() -> None:
    model, frames = tiny_discriminator(), random_frames(3, 3, 5, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(model(frames)[1:2], model(frames[1:2]), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(model(frames), model(frames[:, :, [2, 0, 4, 1, 3]]), atol=1e-3)


def test_every_weight_learns_and_a_few_steps_tell_fine_from_coarse() -> None:
    torch.manual_seed(0)
    model = PatchDiscriminator(TINY)
    optimiser = torch.optim.Adam(model.parameters(), 3e-2, betas=(0.0, 0.99))
    losses = []
    for step in range(50):
        fine = torch.randn(4, 3, 2, 16, 16)
        coarse = fine.repeat_interleave(2, 4)[..., :16]
        loss = functional.relu(1 - model(fine)).mean() + functional.relu(1 + model(coarse)).mean()
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) / 10 < 1.2  # 2 without a clue


def test_autocast_and_compiled_are_eager_in_float32() -> None:
    model, frames = tiny_discriminator(torch.float32), random_frames(1, 3, 5, 16, 16)
    expected = model(frames)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(frames)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), expected, rtol=0.05, atol=0.05 * float(expected.detach().std()))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(frames), expected)


@pytest.mark.parametrize(("num_frames", "share"), [(25, 0.46), (1, 0.41)])
def test_it_costs_no_more_than_half_a_decoder_pass(num_frames: int, share: float) -> None:
    """Figures of the module's docstring; nothing is computed on the meta device."""
    with torch.device("meta"):
        judge, decoder = PatchDiscriminator(DiscriminatorConfig()), VideoVAE(VAEConfig()).decoder
        frames = torch.zeros(1, 3, num_frames, 64, 64)
        latents = torch.zeros(1, 16, 1 + num_frames // 4, 4, 4)
    vae = VideoVAE.__new__(VideoVAE)
    torch.nn.Module.__init__(vae)
    vae.decoder = decoder
    with FlopCounterMode(display=False) as ours:
        judge(frames)
    with FlopCounterMode(display=False) as theirs:
        vae.decode(latents)
    assert ours.get_total_flops() / theirs.get_total_flops() == pytest.approx(share, abs=0.005)
    if num_frames == 25:
        assert ours.get_total_flops() / frames[0, 0].numel() == pytest.approx(15.1e3, rel=0.005)
