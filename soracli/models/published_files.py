"""Where published video VAEs are, torch-free: folders as ``diffusers`` keeps them, and parts of models made of them.

A folder of ``diffusers`` has ``config.json``, which names the class, and one file of safetensors. In a model folder
such a VAE is a part like any other: ``model.safetensors``, and a ``config.json`` with format, kind and hash, whose
``config`` is that of ``diffusers``. Only safetensors are read, never a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soracli.core.errors import ArtifactError
from soracli.core.json_text import parse_json

WEIGHTS = "diffusion_pytorch_model.safetensors"
"""The file of weights in a folder of ``diffusers``."""
CLASSES = ("AutoencoderKLWan", "AutoencoderKLLTXVideo", "AutoencoderKLCogVideoX", "AutoencoderKLHunyuanVideo")
"""Classes of ``diffusers`` that are read."""


@dataclass(frozen=True)
class PublishedFiles:
    """Where a published VAE is, and what it is.

    Attributes:
        weights: The file of safetensors.
        config: As ``diffusers`` builds it from, with its class under ``_class_name``.
        hash: That a part of a model has written down; None in a folder of ``diffusers``.
    """

    weights: Path
    config: Mapping[str, Any]
    hash: str | None

    @property
    def class_name(self) -> str:
        """The class of ``diffusers``."""
        return str(self.config["_class_name"])


def find_published(folder: Path) -> PublishedFiles | None:
    """The published VAE in a folder, None if something else is in it.

    Args:
        folder: One of ``diffusers``, or a part of a model.

    Raises:
        ArtifactError: If it is a model of ``diffusers`` but no video VAE that is read, or has no safetensors.
    """
    try:
        record = parse_json((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    if "_class_name" not in record:
        part = record.get("config")
        if not isinstance(part, dict) or "_class_name" not in part:
            return None
        return PublishedFiles(folder / "model.safetensors", part, str(record.get("hash")))
    # Who saved it, from where and with which version, does not change what it computes.
    config = {name: value for name, value in record.items() if not name.startswith("_") or name == "_class_name"}
    if config["_class_name"] not in CLASSES:
        raise ArtifactError(
            f"{folder} holds a {config['_class_name']}; of diffusers' models {', '.join(CLASSES)} are read"
        )
    if not (folder / WEIGHTS).is_file():
        raise ArtifactError(f"{folder} holds no {WEIGHTS}; weights in other files are not read, least of all pickles")
    return PublishedFiles(folder / WEIGHTS, config, None)
