"""Published models by their name on the Hugging Face hub; torch-free. The network is used here alone, if asked for."""

from __future__ import annotations

from pathlib import Path

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.json_text import parse_json
from soracli.models.published_files import CLASSES, WEIGHTS

PREFIX = "hf:"
"""Begins a name on the hub, as in ``hf:Wan-AI/Wan2.1-T2V-1.3B-Diffusers``."""
_PLACES = ("vae/", "")
_TOLD = ("config.json", "tokenizer.json", "tokenizer_config.json")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")


def download_vae(name: str) -> Path:
    """Fetch a VAE into the hub's own cache on this machine; what is there already is not fetched again.

    Args:
        name: ``hf:OWNER/NAME``: a whole model of ``diffusers``, whose folder ``vae/`` is taken, or a VAE alone.

    Returns:
        The folder with ``config.json`` and the weights.

    Raises:
        ArtifactError: If there is no such model, it may not be read, or it has no video VAE that is.
        MachineError: If ``huggingface_hub`` is missing, or the hub cannot be reached.
    """
    repository = _repository(name)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )
    except ImportError as error:
        raise MachineError(f"{name} needs a package: pip install 'sora-trainer[diffusers]'") from error
    absent: OSError | None = None
    try:
        for place in _PLACES:
            try:
                config = Path(hf_hub_download(repository, f"{place}config.json"))
            except LocalEntryNotFoundError as error:  # without a network it may still lie in the other place
                absent = error
                continue
            except EntryNotFoundError:
                continue
            # Before the weights, which may be gigabytes of something else.
            if parse_json(config.read_text(encoding="utf-8")).get("_class_name") in CLASSES:
                hf_hub_download(repository, f"{place}{WEIGHTS}")
                return config.parent
        if absent is not None:
            raise absent
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ArtifactError(f"no model '{name}' that may be read without leave: {_first_line(error)}") from error
    except (OSError, ValueError) as error:
        raise MachineError(f"cannot fetch {name}: {_first_line(error)}") from error
    raise ArtifactError(f"{name} holds none of the VAEs that are read: {', '.join(CLASSES)}")


def find_text_encoder(name: str, *, fetch: bool, weights: bool) -> Path:
    """A text encoder in the hub's own cache on this machine.

    Args:
        name: ``hf:OWNER/NAME``.
        fetch: Ask the hub for what is not there; else only this machine is looked at.
        weights: Whether the weights are wanted, gigabytes perhaps, or only what tells of them.

    Returns:
        A folder with ``config.json``, ``tokenizer.json`` and safetensors, those of them that there are.

    Raises:
        ArtifactError: If there is no such model, or it may not be read.
        MachineError: If ``huggingface_hub`` is missing, the hub cannot be reached, or it was not to be asked.
    """
    repository = _repository(name)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise MachineError(f"{name} needs a package: pip install 'sora-trainer[transformers]'") from error
    files = [*_TOLD, *(_WEIGHTS if weights else ())]
    try:
        return Path(snapshot_download(repository, allow_patterns=files, local_files_only=not fetch))
    except LocalEntryNotFoundError as error:
        if fetch:
            raise MachineError(f"cannot fetch {name}: {_first_line(error)}") from error
        raise MachineError(f"{name} is not on this machine: hf download {repository}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ArtifactError(f"no model '{name}' that may be read without leave: {_first_line(error)}") from error
    except (OSError, ValueError) as error:
        raise MachineError(f"cannot fetch {name}: {_first_line(error)}") from error


def _repository(name: str) -> str:
    repository = name.removeprefix(PREFIX)
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ArtifactError(f"'{name}' is no name on the hub: write {PREFIX}OWNER/NAME")
    return repository


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
