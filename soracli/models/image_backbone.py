"""Networks whose inner maps say what is in a picture: EfficientNet-Lite0, or any of timm's with weights from a file.

Nothing is downloaded and nothing unpickled: a network of timm is built without its weights, and those of the user's
file are checked name by name before they go in.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from soracli.core.errors import ArtifactError, UsageError
from soracli.models.image_features import load_feature_network

LITE0_BLOCKS = (0, 2, 4, 10)
"""Blocks of EfficientNet-Lite0 whose outputs are looked at: the last ones at 1/2, 1/4, 1/8 and 1/16 of the size."""


@dataclass(frozen=True)
class Backbone:
    """A network, and what it wants to be shown.

    Attributes:
        network: Pictures ``(N, 3, H, W)`` to a list of maps, fine ones first; no parameter asks for a gradient.
        mean: Subtracted from each colour of pictures in [0, 1] before the network sees them.
        std: What they are divided by then.
        size: The only rows and columns it takes, None if it takes any.
        channel_axis: Where its maps ``(N, C, H, W)`` or ``(N, H, W, C)`` have their channels: 1 or -1.
    """

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] | None
    channel_axis: int


class Lite0Maps(nn.Module):
    """EfficientNet-Lite0 up to the last block that is looked at; what comes after costs nothing."""

    def __init__(self, network: nn.Module) -> None:
        """Take the layers of ``network``, timm's ``tf_efficientnet_lite0``."""
        super().__init__()
        parts: Any = network
        self.stem = nn.Sequential(parts.conv_stem, parts.bn1)
        self.blocks = nn.ModuleList([block for stage in parts.blocks for block in stage][: LITE0_BLOCKS[-1] + 1])

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """``(N, 3, H, W)`` to ``(N, C, H / 2, W / 2)`` with C = 16, and so on: 24, 40 and 112 channels."""
        maps = []
        x = self.stem(pictures)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in LITE0_BLOCKS:
                maps.append(x)
        return maps


def lite0_backbone() -> Backbone:
    """EfficientNet-Lite0 with its ImageNet weights.

    Raises:
        MachineError: If the package with the weights is not installed.
        ArtifactError: If its file is not the one that is known.
    """
    # TensorFlow's Lite networks take pictures in [-1, 1]: timm's configuration of it says the same.
    return Backbone(Lite0Maps(load_feature_network()).eval(), (0.5,) * 3, (0.5,) * 3, None, 1)


def timm_backbone(name: str, weights: Path) -> Backbone:
    """A network of timm with the weights of a file, giving the maps that timm's ``features_only`` gives.

    Args:
        name: In timm, such as ``resnet50`` or ``vgg16.tv_in1k``; the tag decides mean and std where they differ.
        weights: A safetensors file with the names that timm gives them; a classifier may be there or not.

    Raises:
        UsageError: If timm has no such network, or cannot give its inner maps; if there is no such file.
        ArtifactError: If the file is damaged, is no safetensors file, or holds weights of something else.
    """
    import timm

    # Names with a source in front ("hf-hub:...") would make timm ask the network: only its own are let through.
    known = timm.list_models()
    architecture, _, tag = name.partition(".")
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=3)
        raise UsageError(f'timm has no network "{name}"' + (f"; nearest: {', '.join(near)}" if near else ""))
    tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        raise UsageError(
            f'timm knows no weights "{tag}" of {architecture}; those it knows: {", ".join(tags) or "none"}'
        )

    arrays = _read_weights(weights)
    _check_weights(arrays, timm.create_model(name, pretrained=False, num_classes=0).state_dict(), name, weights)
    try:
        with _no_warnings_of("timm.models._builder"):  # of weights that the file has for what is not needed here
            network: Any = timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay={"state_dict": arrays}, features_only=True
            )
    except (RuntimeError, AttributeError, AssertionError) as error:
        raise UsageError(
            f"timm cannot give the inner maps of {name}: choose another network ({str(error).splitlines()[0]})"
        ) from error
    facts = network.pretrained_cfg
    for module in network.modules():
        # timm keeps the arrays that it was given beside the weights: as much memory again.
        if isinstance(kept := getattr(module, "pretrained_cfg", None), dict):
            kept.pop("state_dict", None)
    return Backbone(
        network.eval().requires_grad_(False),
        tuple(facts["mean"]),
        tuple(facts["std"]),
        tuple(facts["input_size"][1:]) if facts.get("fixed_input_size") else None,
        1 if str(getattr(network, "output_fmt", "NCHW")).endswith("NCHW") else -1,
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}: name a safetensors file with the network's weights") from None
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path} is no safetensors file, or damaged ({error}): no other kind is opened, save the weights as that"
        ) from error


def _check_weights(arrays: dict[str, Tensor], expected: dict[str, Tensor], name: str, path: Path) -> None:
    """Whether a file has every weight of a network; timm would leave those that are missing at random."""
    missing = [key for key in expected if key not in arrays]
    if missing:
        raise ArtifactError(
            f"{path} is not of {name}: it lacks {len(missing)} of {len(expected)} weights, among them {missing[0]}"
        )
    for key, value in expected.items():
        if arrays[key].shape != value.shape:
            raise ArtifactError(
                f"{path} is not of {name}: {key} is {tuple(arrays[key].shape)} there, not {tuple(value.shape)}"
            )


@contextmanager
def _no_warnings_of(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
