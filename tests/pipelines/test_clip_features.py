"""What features are made of: which frames, thumbnails by hand, the network's mean and change."""

import pytest
import torch
from torch import Tensor, nn

from soracli.pipelines import clip_features
from soracli.pipelines.clip_features import feature_kinds, frames_looked_at, network_features, thumbnails


def test_frames_are_taken_at_fixed_times() -> None:
    frames = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(40, 2, 2, 3)
    assert frames_looked_at(frames, 12)[:, 0, 0, 0].tolist() == [0, 9, 18, 27]
    assert frames_looked_at(frames[:20], 12)[:, 0, 0, 0].tolist() == [0, 9, 18, 19]
    assert frames_looked_at(frames[:1], 24)[:, 0, 0, 0].tolist() == [0, 0, 0, 0]


def test_thumbnails_are_means_of_places() -> None:
    frames = torch.randint(0, 256, (4, 32, 48, 3), dtype=torch.uint8)
    found = thumbnails(frames).view(4, 3, 16, 16)
    by_hand = frames.float().view(4, 16, 2, 16, 3, 3).mean((2, 4)).permute(0, 3, 1, 2) / 255
    assert torch.allclose(found, by_hand, atol=1e-6)


def test_network_features_see_time() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward_features(self, pictures: Tensor) -> Tensor:
            return pictures[:, :2]

    frames = torch.stack([torch.full((8, 8, 3), value, dtype=torch.uint8) for value in (0, 255, 255, 0)])
    found = network_features(Network(), frames)
    assert torch.allclose(found, torch.tensor([0.0, 0.0, 4 / 3, 4 / 3]), atol=1e-6)
    assert torch.allclose(network_features(Network(), frames[1:3]), torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_without_the_package_there_are_thumbnails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_features, "find_feature_weights", lambda: None)
    (kind,) = feature_kinds(torch.device("cpu"))
    frames = torch.zeros(4, 32, 32, 3, dtype=torch.uint8)
    assert kind.name == "thumbnails" and kind.describe(frames).shape == (sum(kind.widths),)
