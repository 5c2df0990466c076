"""The adversarial game, against sums by hand, torch's cross-entropy, closed forms and finite differences."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.adversarial_loss import (
    MOST_ADAPTIVE,
    LecamAverages,
    adaptive_weight,
    adversarial_share,
    discriminator_loss,
    generator_loss,
    lecam_penalty,
    r1_penalty,
    start_lecam,
    update_lecam,
)
from soracli.models.config import AdversarialKind, DiscriminatorConfig
from soracli.models.discriminator import PatchDiscriminator
from tests.models.tiny import random_frames, stir

REAL, FAKE = torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([[-3.0, 0.0], [0.5, -1.0]])


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hinge_by_hand() -> None:
    # Real: 0, 0.5, 2, 0 are missing to 1; fake: 0, 1, 1.5, 0 are too much over -1.
    assert float(discriminator_loss(REAL, FAKE, "hinge")) == pytest.approx(2.5 / 4 + 2.5 / 4)
    assert float(generator_loss(FAKE, "hinge")) == pytest.approx(3.5 / 4)


def test_non_saturating_is_cross_entropy() -> None:
    real, fake = logits(2, 3, 4), logits(2, 3, 4, seed=1)
    entropy = functional.binary_cross_entropy_with_logits
    expected = entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))
    torch.testing.assert_close(discriminator_loss(real, fake, "non_saturating"), expected)
    torch.testing.assert_close(generator_loss(fake, "non_saturating"), entropy(fake, torch.ones_like(fake)))
    # Goodfellow et al., theorem 1: without a clue it is log 4.
    clueless = torch.zeros(3)
    assert float(discriminator_loss(clueless, clueless, "non_saturating")) == pytest.approx(math.log(4))


def test_the_decoder_still_learns_where_it_is_found_out() -> None:
    """What non-saturating is for: at a logit of -20 the gradient is -1, not exp(-20)."""
    kinds: tuple[AdversarialKind, ...] = ("hinge", "non_saturating")
    for kind in kinds:
        fake = torch.tensor([-20.0], requires_grad=True)
        generator_loss(fake, kind).backward()
        assert fake.grad is not None and float(fake.grad) == pytest.approx(-1)
    far = torch.tensor([-20.0], requires_grad=True)
    discriminator_loss(torch.tensor([20.0]), far, "hinge").backward()
    assert far.grad is not None and float(far.grad) == 0  # and the hinge stops pushing logits apart


@pytest.mark.parametrize("kind", ["hinge", "non_saturating"])
def test_gradients_are_finite_differences(kind: AdversarialKind) -> None:
    real, fake = logits(2, 3).requires_grad_(), logits(2, 3, seed=1).requires_grad_()
    averages = LecamAverages(torch.tensor(0.7), torch.tensor(-0.4))
    assert torch.autograd.gradcheck(lambda a, b: discriminator_loss(a, b, kind), (real, fake))
    assert torch.autograd.gradcheck(lambda a: generator_loss(a, kind), fake)
    assert torch.autograd.gradcheck(lambda a, b: lecam_penalty(a, b, averages), (real, fake))


def test_lecam_by_hand() -> None:
    averages = LecamAverages(torch.tensor(0.25), torch.tensor(-0.5))
    # Real over -0.5: 2.5, 1, 0, 1.5. Fake under 0.25: 3.25, 0.25, 0, 1.25.
    expected = (6.25 + 1 + 0 + 2.25) / 4 + (3.25**2 + 0.25**2 + 0 + 1.25**2) / 4
    assert float(lecam_penalty(REAL, FAKE, averages)) == pytest.approx(expected)
    # MAGVIT's, of means: 0.625 is 1.125 over -0.5, -0.875 is 1.125 under 0.25.
    assert float(lecam_penalty(REAL.mean(), FAKE.mean(), averages)) == pytest.approx(2 * 1.125**2)


numbers = st.lists(st.floats(-30, 30), min_size=1, max_size=6).map(lambda some: torch.tensor(some).double())


@given(numbers, numbers, st.floats(-5, 5), st.floats(-5, 5))
def test_lecam_of_logits_is_never_less_than_of_their_means(real: Tensor, fake: Tensor, high: float, low: float) -> None:
    averages = LecamAverages(torch.tensor(high).double(), torch.tensor(low).double())
    of_all = lecam_penalty(real, fake, averages)
    assert of_all >= lecam_penalty(real.mean(), fake.mean(), averages) - 1e-9
    assert of_all >= 0


def test_averages_follow_and_what_was_passed_in_stays() -> None:
    averages = start = start_lecam()
    for _ in range(5):
        averages = update_lecam(averages, logits(4, 2).float().requires_grad_() * 0 + 3, torch.full((2,), -1.0), 0.9)
    assert (float(start.real), float(start.fake)) == (0, 0)
    assert float(averages.real) == pytest.approx(3 * (1 - 0.9**5))
    assert float(averages.fake) == pytest.approx(-(1 - 0.9**5))
    assert not averages.real.requires_grad
    # Logits of all ranks at once, or their mean.
    both = update_lecam(start, REAL, FAKE, 0.9), update_lecam(start, REAL.mean(), FAKE.mean(), 0.9)
    torch.testing.assert_close(*both)


def test_r1_of_a_plane_is_its_slope_whatever_the_frames() -> None:
    slope = torch.randn(3, 2, 4, 4)
    frames = random_frames(5, 3, 2, 4, 4)
    penalty = r1_penalty(lambda x: (x * slope).sum((1, 2, 3, 4)) + 7, frames)
    torch.testing.assert_close(penalty, slope.square().sum())
    assert not frames.requires_grad


def test_r1_of_a_bowl_is_the_mean_square_of_its_gradients() -> None:
    frames = random_frames(4, 3, 1, 2, 2)
    penalty = r1_penalty(lambda x: 1.5 * x.square().sum((1, 2, 3, 4)), frames)
    torch.testing.assert_close(penalty, 9 * frames.square().sum((1, 2, 3, 4)).mean())


def test_r1_of_patches_apart_is_the_mean_of_theirs_at_any_size() -> None:
    patches = nn.Conv3d(3, 1, 4, stride=4)
    small, large = random_frames(2, 3, 4, 4, 8), random_frames(2, 3, 8, 16, 16, seed=1)
    expected = patches.weight.square().sum()
    torch.testing.assert_close(r1_penalty(patches, small), expected)
    torch.testing.assert_close(r1_penalty(patches, large), expected)


def tiny_discriminator() -> PatchDiscriminator:
    torch.manual_seed(0)
    return stir(PatchDiscriminator(DiscriminatorConfig(widths=(2, 3), temporal_strides=(2,)))).double()


def test_r1_of_the_discriminator_is_a_finite_difference_and_so_is_its_gradient() -> None:
    model, frames = tiny_discriminator(), random_frames(1, 3, 2, 4, 4, dtype=torch.float64)
    step, flat = 1e-6, frames.flatten()
    with torch.no_grad():
        slopes = [
            (model((flat + nudge).view_as(frames)).sum() - model((flat - nudge).view_as(frames)).sum()) / (2 * step)
            for nudge in step * torch.eye(len(flat), dtype=torch.float64)
        ]
    penalty = r1_penalty(model, frames)
    torch.testing.assert_close(penalty, torch.stack(slopes).square().sum() / model(frames).numel(), rtol=1e-6, atol=0)
    penalty.backward()
    for name in ("stem.weight", "levels.0.weight", "norms.0.gain", "head.weight"):
        weight = model.get_parameter(name)
        assert weight.grad is not None
        place, step = (0,) * weight.ndim, 1e-5
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
            sides.append(r1_penalty(model, frames).detach())
            with torch.no_grad():
                weight[place] -= sign * step
        expected = (sides[0] - sides[1]) / (2 * step)
        torch.testing.assert_close(weight.grad[place], expected, rtol=1e-5, atol=1e-9)


def test_r1_under_autocast() -> None:
    model, frames = tiny_discriminator().float(), random_frames(2, 3, 2, 4, 4)
    expected = r1_penalty(model, frames)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = r1_penalty(model, frames)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, expected, rtol=0.05, atol=0)


def test_r1_of_what_was_compiled_goes_by_its_forward() -> None:
    model, frames = nn.Sequential(nn.Conv3d(3, 2, 2), nn.Softplus()), random_frames(1, 3, 2, 3, 3)
    expected = r1_penalty(model, frames)
    model.compile(backend="aot_eager")
    with pytest.raises(RuntimeError, match=r"double backward|create_graph"):
        r1_penalty(model, frames).backward()
    torch.testing.assert_close(r1_penalty(model.forward, frames), expected)


@pytest.mark.parametrize("kind", ["hinge", "non_saturating"])
def test_losses_of_bfloat16_logits_are_float32(kind: AdversarialKind) -> None:
    real, fake = logits(50).bfloat16(), logits(50, seed=1).bfloat16()
    for of_rounded, exact in (
        (discriminator_loss(real, fake, kind), discriminator_loss(real.float(), fake.float(), kind)),
        (generator_loss(fake, kind), generator_loss(fake.float(), kind)),
        (lecam_penalty(real, fake, start_lecam()), lecam_penalty(real.float(), fake.float(), start_lecam())),
    ):
        assert of_rounded.dtype == torch.float32 and torch.equal(of_rounded, exact)


def test_the_adaptive_weight_makes_both_gradients_alike() -> None:
    reconstruction, adversarial = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.5], requires_grad=True)
    weight = adaptive_weight(reconstruction, adversarial)
    assert float(weight) == pytest.approx(5 / 0.5001)
    assert not weight.requires_grad
    many, others = torch.randn(64, 48), 20 * torch.randn(64, 48)
    assert float((adaptive_weight(many, others) * others).norm()) == pytest.approx(float(many.norm()), rel=1e-5)
    assert float(adaptive_weight(torch.ones(9), torch.zeros(9))) == MOST_ADAPTIVE
    assert float(adaptive_weight(torch.zeros(9), torch.ones(9))) == 0
    assert float(adaptive_weight(reconstruction.bfloat16(), adversarial.bfloat16())) == float(weight)


def test_the_adversarial_loss_starts_late_and_grows_evenly() -> None:
    assert [adversarial_share(step, 10, 4) for step in (0, 9, 10, 11, 12, 13, 14, 999)] == [
        0, 0, 0.25, 0.5, 0.75, 1, 1, 1,
    ]  # fmt: skip
    for at_once in (0, 1):
        assert [adversarial_share(step, 10, at_once) for step in (9, 10, 11)] == [0, 1, 1]
    assert adversarial_share(0, 0, 0) == 1


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_the_share_never_falls_or_leaves_0_to_1(step: int, start: int, ramp_steps: int) -> None:
    now, later = adversarial_share(step, start, ramp_steps), adversarial_share(step + 1, start, ramp_steps)
    assert 0 <= now <= later <= 1
