"""What is written beside the weights of a model, read without torch: kinds, hashes, settings and facts.

So a command can refuse what does not fit before it spends seconds on loading anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soracli.core.errors import ArtifactError
from soracli.core.json_text import parse_json

FORMAT = 1


def part_folder(model: Path, kind: str) -> Path:
    """Where a part lives in what a user named: a part, a model folder, or a run with a ``model/``.

    Raises:
        ArtifactError: If none of them is there.
    """
    for candidate in (model / kind, model / "model" / kind, model):
        if (candidate / "config.json").is_file():
            return candidate
    others = sorted({path.parent.name for place in ("*", "model/*") for path in model.glob(f"{place}/config.json")})
    if others:
        raise ArtifactError(f"{model} holds {', '.join(others)}, but no {kind}: name a model that has one")
    if (model / "run.json").is_file():
        raise ArtifactError(f"{model} is a run that is not finished: run its training command again to go on")
    raise ArtifactError(f"{model} holds no {kind}: name a model folder or a finished run")


def read_record(folder: Path, kind: str) -> dict[str, Any]:
    """All of a part's ``config.json``.

    Args:
        folder: Of the part.
        kind: What it must be: ``vae``, ``dit``, ``text``, ``judge``.

    Raises:
        ArtifactError: If it is missing, damaged, of another kind, or made by a newer version.
    """
    path = folder / "config.json"
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{folder} holds no {kind}: {path} is missing") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if isinstance(record, dict) and "_class_name" in record:
        raise ArtifactError(f"{folder} holds a {record['_class_name']} of diffusers, not a {kind} of sora's")
    if not isinstance(record, dict) or record.get("kind") != kind:
        found = record.get("kind") if isinstance(record, dict) else None
        raise ArtifactError(f"{folder} holds a {found or 'damaged part'}, not a {kind}")
    if record.get("format") != FORMAT:
        raise ArtifactError(f"{folder} has format {record.get('format')}; this sora reads {FORMAT}: update sora")
    if not isinstance(record.get("hash"), str) or not isinstance(record.get("config"), dict):
        raise ArtifactError(f"{path} is damaged: it lacks the hash or the configuration of the {kind}")
    return record


def read_adapter_record(adapter: Path, model: Path) -> dict[str, Any]:
    """All of an adapter's ``config.json``, if the adapter belongs to the model.

    Args:
        adapter: Its folder, or the run that trained it.
        model: A model folder or a finished run.

    Raises:
        ArtifactError: If either cannot be read, or it was trained on another model.
    """
    folder = part_folder(adapter, "lora")
    record, base = read_record(folder, "lora"), read_record(part_folder(model, "dit"), "dit")
    if record.get("base") != (found := base_of(base)):
        wanted = (record.get("base") or {}).get("dit", "")
        raise ArtifactError(
            f"{folder} adapts model {str(wanted)[:12]}, but {model} is {found['dit'][:12]}: "
            "name the model that it was trained on"
        )
    return record


def base_of(record: Mapping[str, Any]) -> dict[str, str]:
    """What an adapter belongs to: the hashes in the record of a DiT of its weights and of its text encoder's."""
    return {"dit": str(record.get("hash")), "text": str(record.get("text_hash"))}
