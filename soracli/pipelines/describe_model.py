"""``sora model show`` and ``list``: what model folders hold, read from their headers without loading weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

import soracli
from soracli.core.errors import ArtifactError
from soracli.models.published_files import find_published
from soracli.models.record import read_record
from soracli.pipelines.find_model import SHIPPED

_KINDS = ("vae", "dit", "text", "lora", "judge")
_FACTS = ("base", "trained", "defaults", "frozen")


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        kind: ``vae``, ``dit``, ``text``, ``lora`` or ``judge``.
        parameters: Numbers in it.
        stored: Their type in the file, or types.
        num_bytes: Size of the weights' file.
        hash: Of weights and configuration.
        config: What it was built from.
    """

    kind: str
    parameters: int
    stored: str
    num_bytes: int
    hash: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class ModelSummary:
    """What a model folder holds.

    Attributes:
        folder: Where it is.
        parts: In the order they are used in training.
        facts: What travels with it, by name: ``latents``, ``base``, ``trained``, ``defaults``, and ``frozen``, the text
            encoder it needs that is not among them.
    """

    folder: Path
    parts: tuple[Part, ...]
    facts: Mapping[str, Mapping[str, Any]]


def describe_model(model: Path) -> ModelSummary:
    """Describe a model folder, a finished run, or a single part.

    Raises:
        ArtifactError: If it holds no part, or one is damaged.
    """
    for folder in (model, model / "model"):
        kinds = [kind for kind in _KINDS if (folder / kind / "config.json").is_file()]
        if kinds:
            return _summary(folder, {kind: folder / kind for kind in kinds})
    if (model / "config.json").is_file():
        return _summary(model, {_kind_of(model): model})
    if (model / "run.json").is_file():
        raise ArtifactError(f"{model} is a run that is not finished: run its training command again to go on")
    raise ArtifactError(f"{model} holds no model: name a model folder or a finished run")


def list_models(runs: Path) -> dict[str, ModelSummary]:
    """The weights that come with sora and the models of finished runs, by what ``--model`` calls them.

    Args:
        runs: Folder of runs, which may be grouped: ``runs/nano/dit``. It need not exist.

    Raises:
        ArtifactError: If one is damaged.
    """
    shipped = {name: Path(soracli.__file__).parent / "weights" / name for name in SHIPPED}
    finished = {str(path.parent): path for depth in ("*", "*/*") for path in sorted(runs.glob(f"{depth}/model"))}
    found = {**shipped, **finished}
    return {name: describe_model(path) for name, path in found.items() if any(path.glob("*/config.json"))}


def _summary(folder: Path, parts: Mapping[str, Path]) -> ModelSummary:
    records = {kind: read_record(path, kind) for kind, path in parts.items()}
    facts: dict[str, Mapping[str, Any]] = {}
    for record in records.values():
        latents = record.get("latents")
        if isinstance(latents, dict):
            facts["latents"] = {name: latents[name] for name in ("channels", "compression") if name in latents}
        facts |= {name: record[name] for name in _FACTS if isinstance(record.get(name), dict)}
    return ModelSummary(folder, tuple(_part(kind, parts[kind], record) for kind, record in records.items()), facts)


def _part(kind: str, folder: Path, record: Mapping[str, Any]) -> Part:
    path = folder / "model.safetensors"
    try:
        with safe_open(path, framework="np") as file:
            slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 - it is no mapping
            count = sum(math.prod(part.get_shape()) for part in slices)
            stored = " ".join(sorted({str(part.get_dtype()) for part in slices}))
        return Part(kind, count, stored, path.stat().st_size, str(record["hash"]), record["config"])
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtifactError(f"{folder} is damaged: {str(error).splitlines()[0]}") from error


def _kind_of(folder: Path) -> str:
    if (files := find_published(folder)) is not None and files.hash is None:
        raise ArtifactError(f"{folder} holds a published {files.class_name}: --vae takes it, sora vae eval measures it")
    for kind in _KINDS:
        try:
            read_record(folder, kind)
        except ArtifactError:
            continue
        return kind
    raise ArtifactError(f"{folder} holds a damaged part, or none of {', '.join(_KINDS)}")
