"""A training sample: its targets lead from what stands there to the latents; context is what was said of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.data.latent_samples import LatentSample
from soracli.diffusion.config import FlowConfig, OrderConfig
from soracli.diffusion.objective import predicted_data, predicted_velocity
from soracli.diffusion.options import ObjectiveName
from soracli.pipelines.noising import noised_sample

TEXT = torch.tensor([1, 2])
ORDERS = OrderConfig(first_block=3, block=2, forward=1, animate=1, backward=1, between=1, scattered=1)


def drawn(count: int, begins: bool = True) -> LatentSample:
    """Latents that say which frame they are, in seconds as well."""
    latents = torch.randn(2, count, 8, 8, generator=torch.Generator().manual_seed(9))
    number = torch.arange(count)
    return LatentSample(latents, number.float(), (number == 0) & begins, begins, "")


@settings(max_examples=60)
@given(count=st.integers(1, 11), begins=st.booleans(), noise=st.sampled_from([0.0, 0.5]), seed=st.integers(0, 1000))
def test_targets_and_context(count, begins, noise, seed):
    source = drawn(count, begins)
    flow = FlowConfig(context_noise=noise)
    sample, targets = noised_sample(source, TEXT, flow, ORDERS, torch.Generator().manual_seed(seed))
    clean = [piece for piece in sample.pieces if piece.clean]
    noisy = [piece for piece in sample.pieces if not piece.clean]
    assert torch.equal(sample.text, TEXT) and len(noisy) == len(targets)
    for piece in sample.pieces:
        frames = piece.seconds.long()
        assert torch.equal(piece.one_frame, source.one_frame[frames])
        assert piece.latents.shape == (2, len(frames), 8, 8) and piece.t.unique().numel() == 1

    made = sorted(frame for piece in noisy for frame in piece.seconds.tolist())
    given_frames = [frame for piece in clean if piece.block == 1 for frame in piece.seconds.tolist()]
    assert sorted([*made, *given_frames]) == list(range(count))
    assert [piece.block for piece in noisy] == list(range(2, 2 + len(noisy)))
    assert [piece.block for piece in clean if piece.block > 1] == [piece.block for piece in noisy[:-1]]

    for piece, target in zip(noisy, targets, strict=True):
        level = float(piece.t[0])
        assert 0 < level < 1
        data = source.latents[:, piece.seconds.long()]
        torch.testing.assert_close(piece.latents - level * target, data)  # the velocity leads to the data
    levels = {float(piece.t[0]) for piece in clean}
    assert len(levels) <= 1 and all(0 <= level <= noise for level in levels)
    for piece in clean:
        level, data = float(piece.t[0]), source.latents[:, piece.seconds.long()]
        if level == 0:
            assert torch.equal(piece.latents, data)
        else:
            added = (piece.latents - (1 - level) * data) / level
            assert float(added.std()) == pytest.approx(1, abs=0.35)


def test_copies_differ_in_noise_alone():
    """Each block stands there once clean and three times noisy; every copy leads to the same data."""
    source = drawn(5)
    sample, targets = noised_sample(source, TEXT, FlowConfig(copies=3), ORDERS, torch.Generator().manual_seed(1))
    noisy = [piece for piece in sample.pieces if not piece.clean]
    for block in {piece.block for piece in noisy}:
        group = [number for number, piece in enumerate(noisy) if piece.block == block]
        assert [noisy[number].copy for number in group] == [0, 1, 2]
        assert len({float(noisy[number].t[0]) for number in group}) == 3
        noises = torch.stack([targets[number] + source.latents[:, noisy[number].seconds.long()] for number in group])
        assert float((noises[0] - noises[1]).abs().mean()) > 0.5 and float((noises[0] - noises[2]).abs().mean()) > 0.5
        for number in group:
            data = source.latents[:, noisy[number].seconds.long()]
            torch.testing.assert_close(noisy[number].latents - float(noisy[number].t[0]) * targets[number], data)


@pytest.mark.parametrize("seed", range(8))
def test_v_prediction_is_seen_at_unit_variance(seed):
    """Context too: everything lies on the circle of data and noise, and the targets lead to the data."""
    source = drawn(9)
    flow = FlowConfig(objective="v", copies=2, context_noise=0.9)
    sample, targets = noised_sample(source, TEXT, flow, ORDERS, torch.Generator().manual_seed(seed))
    noisy = [piece for piece in sample.pieces if not piece.clean]
    for piece, target in zip(noisy, targets, strict=True):
        level, data = float(piece.t[0]), source.latents[:, piece.seconds.long()]
        torch.testing.assert_close(predicted_data("v", piece.latents, target, level), data, atol=1e-5, rtol=1e-5)
        noise = data + predicted_velocity("v", piece.latents, target, level)
        assert float(noise.std()) == pytest.approx(1, abs=0.25)
        torch.testing.assert_close(piece.latents.square() + target.square(), data.square() + noise.square())
    for piece in sample.pieces:
        level, data = float(piece.t[0]), source.latents[:, piece.seconds.long()]
        if piece.clean and level > 0.05:
            radius = ((1 - level) ** 2 + level**2) ** 0.5
            added = (piece.latents * radius - (1 - level) * data) / level
            assert float(added.std()) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("objective", ["flow", "v"])
def test_one_seed_is_one_noise_for_both_objectives(objective: ObjectiveName):
    """Only levels are drawn from another distribution, so objectives can be compared on the same samples."""
    source = drawn(9)
    found = {}
    for name in ("flow", objective):
        flow = FlowConfig(objective=name, context_noise=0.0)
        sample, targets = noised_sample(source, TEXT, flow, ORDERS, torch.Generator().manual_seed(5))
        noisy = [piece for piece in sample.pieces if not piece.clean]
        found[name] = (
            [piece.seconds.tolist() for piece in sample.pieces],
            [
                predicted_velocity(name, piece.latents, target, float(piece.t[0]))
                for piece, target in zip(noisy, targets, strict=True)
            ],
        )
    assert found["flow"][0] == found[objective][0]
    torch.testing.assert_close(found["flow"][1], found[objective][1], atol=1e-4, rtol=1e-4)


def test_half_of_the_samples_have_noise_on_their_context():
    levels = []
    for seed in range(400):
        sample, _ = noised_sample(
            drawn(9), TEXT, FlowConfig(context_noise=0.4), ORDERS, torch.Generator().manual_seed(seed)
        )
        levels.append(max(float(piece.t[0]) for piece in sample.pieces if piece.clean))
    some = torch.tensor([level for level in levels if level > 0])
    assert len(some) / 400 == pytest.approx(0.5, abs=0.08)
    assert float(some.mean()) == pytest.approx(0.2, abs=0.03) and float(some.max()) <= 0.4


def test_noise_is_not_that_of_the_context():
    """Or a block could be read off its own clean copy's noise."""
    forward = OrderConfig(first_block=4, block=4, forward=1, animate=0, backward=0, between=0, scattered=0)
    flow = FlowConfig(context_noise=0.9)
    sample, targets = noised_sample(drawn(8), TEXT, flow, forward, torch.Generator().manual_seed(6))
    clean, noisy = sample.pieces[0], sample.pieces[1]
    assert float(clean.t[0]) > 0.05
    data = drawn(8).latents[:, :4]
    one = targets[0] + data
    other = (clean.latents - (1 - clean.t[0]) * data) / clean.t[0]
    assert noisy.block == clean.block
    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.15


def test_the_generator_decides_everything():
    one, other = (
        noised_sample(drawn(7), TEXT, FlowConfig(), ORDERS, torch.Generator().manual_seed(4)) for _ in range(2)
    )
    for a, b in zip(one[0].pieces, other[0].pieces, strict=True):
        assert torch.equal(a.latents, b.latents) and torch.equal(a.t, b.t)
