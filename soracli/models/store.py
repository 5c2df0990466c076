"""Model folders: ``vae/``, ``dit/``, ``text/`` and ``judge/``, each ``model.safetensors`` and ``config.json``.

Loadable with nothing but this package; nothing is ever unpickled. Weights may be stored in bfloat16 and are float32
in memory. A VAE may be a published one (``soracli.models.published_files``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.files import finish_file, machine_error, write_json_atomic
from soracli.core.json_text import parse_json
from soracli.core.latent_spec import LatentSpec
from soracli.models.config import QuantisedVAEConfig, VAEConfig
from soracli.models.part_hash import hash_part
from soracli.models.published_files import find_published
from soracli.models.published_vae import load_published
from soracli.models.quantised_vae import build_vae
from soracli.models.record import FORMAT, part_folder, read_record
from soracli.models.video_codec import VideoCodec
from soracli.models.video_vae import VideoVAE
from soracli.recipe.section import Section

S = TypeVar("S", bound=Section)
M = TypeVar("M", bound=nn.Module)


def save_part(
    folder: Path,
    kind: str,
    weights: Mapping[str, Tensor],
    config: Section,
    facts: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> str:
    """Write one part of a model.

    Args:
        folder: Its folder, made if missing.
        kind: What it is: ``vae``, ``dit``, ``text``, ``judge``.
        weights: Tensors by name.
        config: The section it is built from.
        facts: JSON values that travel with it.
        dtype: How floating-point weights are stored.

    Returns:
        The part's hash.

    Raises:
        MachineError: If it cannot be written.
    """
    stored = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in weights.items()
    }
    values = config.model_dump(mode="json")
    part_hash = hash_part(kind, values, stored)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "model.safetensors.part"
        save_file(stored, draft)
        finish_file(draft, folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise MachineError(f"cannot write {folder}: {error}") from error
    write_json_atomic(
        folder / "config.json", {"format": FORMAT, "kind": kind, "hash": part_hash, "config": values, **facts}
    )
    return part_hash


def read_part(folder: Path, kind: str, section: type[S]) -> tuple[dict[str, Tensor], S, dict[str, Any]]:
    """Read one part: float32 weights, its section, and all of ``config.json``.

    Raises:
        ArtifactError: If it is missing, damaged, of another kind, or made by a newer version.
    """
    record = read_record(folder, kind)
    try:
        config = section.model_validate_json(json.dumps(record["config"]))
        weights = load_file(folder / "model.safetensors")
    except (KeyError, ValidationError, OSError, SafetensorError) as error:
        raise ArtifactError(f"{folder} is damaged: {str(error).splitlines()[0]}") from error
    # A file of tensors with a flipped byte, or of another save than config.json, loads without a word.
    if hash_part(kind, record["config"], weights) != record.get("hash"):
        raise ArtifactError(f"{folder} is damaged: its weights are not those that config.json was written for")
    return (
        {name: value.float() if value.is_floating_point() else value for name, value in weights.items()},
        config,
        record,
    )


def build_filled(build: Callable[[], M], weights: Mapping[str, Tensor], folder: Path) -> M:
    """A module with its weights.

    Nothing is allocated on the word of a configuration: the module is built without memory first, and for real only if
    the weights are those that it has.

    Args:
        build: Makes the module.
        weights: All that it has, by name.
        folder: Of the part, for the error.

    Raises:
        ArtifactError: If a name or shape does not fit.
    """
    with torch.device("meta"):
        wanted = build().state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        asked, found = (
            str(tuple(tensors[name].shape)) if name in tensors else "nothing" for tensors in (wanted, weights)
        )
        if asked != found:
            raise ArtifactError(f"{folder} does not fit its configuration: {name} is {found} where {asked} is needed")
    module = build()
    fill_module(module, weights, folder)
    return module


def fill_module(module: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Put weights into a module; all or none.

    Raises:
        ArtifactError: If a name or shape does not fit.
    """
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise ArtifactError(
            f"{folder} does not fit its configuration: {str(error).splitlines()[-1].strip()}"
        ) from error


def save_vae(
    folder: Path, vae: VideoVAE, mean: Tensor, std: Tensor, facts: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> str:
    """Write a VAE with the mean and deviation ``(C,)`` of its latents; returns its hash.

    Latents have a hash of their own: that of the encoder and of these numbers. A decoder that is trained further leaves
    them, and all that was made of them, as they are.
    """
    numbers = {
        "channels": vae.num_channels,
        "compression": list(vae.config.compression),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
    # As they will be read again, whatever they are stored in.
    encoder = {name: tensor.detach().cpu().to(dtype).float() for name, tensor in vae.encoder.state_dict().items()}
    numbers["vae_hash"] = hash_part("encoder", {**vae.config.model_dump(mode="json"), **numbers}, encoder)
    return save_part(folder, "vae", vae.state_dict(), vae.config, {"latents": numbers, **facts}, dtype)


def load_vae(model: Path, device: torch.device | str = "cpu") -> tuple[VideoCodec, LatentSpec]:
    """Read a VAE, sora's own (a ``QuantisedVAE`` if it was saved as one) or a published one, and what its latents are.

    Args:
        model: A VAE's folder, a model folder or a finished run; or a folder of ``diffusers``.
        device: Where its weights go.

    Raises:
        ArtifactError: If there is none or it is damaged.
        MachineError: If it is a published one and ``diffusers`` is not installed.
    """
    files = find_published(part_folder(model, "vae"))
    if files is None:
        return load_video_vae(model, device)
    vae, spec = load_published(files)
    return vae.eval().requires_grad_(False).to(device), spec


def load_video_vae(model: Path, device: torch.device | str = "cpu") -> tuple[VideoVAE, LatentSpec]:
    """Read a VAE of sora's own, for what needs to know how it is built; otherwise as ``load_vae``.

    Raises:
        ArtifactError: If there is none, it is damaged, or it is a published one.
    """
    folder = part_folder(model, "vae")
    if (files := find_published(folder)) is not None:
        raise ArtifactError(f"{folder} holds a published {files.class_name}; a VAE of sora vae train is needed here")
    stated = read_record(folder, "vae").get("config")
    section = QuantisedVAEConfig if isinstance(stated, dict) and "quantiser" in stated else VAEConfig
    weights, config, record = read_part(folder, "vae", section)
    vae = build_filled(lambda: build_vae(config), weights, folder)
    # Models of version 0.1 have no hash of their latents: there it is that of the whole VAE.
    stated = record.get("latents", {})
    if not isinstance(stated, dict):
        raise ArtifactError(f"{folder} is damaged: what it says of its latents is no table")
    spec = LatentSpec.from_dict({"vae_hash": record.get("hash", ""), **stated})
    if spec.compression != config.compression:
        raise ArtifactError(f"{folder} is damaged: its latents are said to be compressed by {spec.compression}")
    return vae.eval().requires_grad_(False).to(device), spec


def copy_vae(model: Path, folder: Path, spec: LatentSpec) -> None:
    """Put a copy of a VAE into a model folder; a published one becomes a part like any other.

    Args:
        model: As for ``load_vae``.
        folder: Of the copy, made if missing.
        spec: Of its latents, as ``load_vae`` gave it.

    Raises:
        MachineError: If it cannot be written.
    """
    source = part_folder(model, "vae")
    files = find_published(source)
    weights = source / "model.safetensors" if files is None else files.weights
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "model.safetensors.part"
        shutil.copyfile(weights, draft)
        finish_file(draft, folder / "model.safetensors")
    except OSError as error:
        raise machine_error(error, folder, "cannot write") from error
    if files is None or files.hash is not None:
        record = parse_json((source / "config.json").read_text(encoding="utf-8"))
    else:
        numbers = {name: value for name, value in spec.to_dict().items() if name != "vae_hash"}
        record = {"format": FORMAT, "kind": "vae", "hash": spec.vae_hash, "config": files.config, "latents": numbers}
    write_json_atomic(folder / "config.json", record)
