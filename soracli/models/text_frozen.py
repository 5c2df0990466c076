"""Token states of a text encoder that is never trained: those of each text are computed once, alone, and kept.

A text is never computed beside others: there is no padding that could leak, and its states are a function of the text
to the last bit, so a resumed run, whose memory is empty, sees what the uninterrupted one saw.

Axes: n tokens of one text, L of all texts, F width of the states.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError
from soracli.models.config import TextEncoderConfig
from soracli.models.text_files import MINILM, FrozenFiles, find_frozen
from soracli.models.text_minilm import MiniLM, load_minilm
from soracli.models.text_transformers import TransformersEncoder, load_transformers
from soracli.models.tokenizer import PairedTokenizer, load_tokenizer

_KEPT_BYTES = 512 * 2**20
"""Memory for states: of MiniLM's, 17 thousand captions of 20 tokens."""
_MINILM_HASH = "3415c330452d5f49a3f1c22bbdb78fb7ea40e204cbdc79d7b1768f002049ad9c"
_SAYS_NOTHING = ("architectures", "dtype", "torch_dtype", "transformers_version")
"""Keys of a ``config.json`` that do not change what is computed; those that begin with ``_`` do not either."""


class FrozenText:
    """A frozen text encoder; its weights are read when they are first needed.

    It is no ``nn.Module``: its weights belong to no optimiser, average, checkpoint or model folder, and copies of the
    module that holds it share it.

    Attributes:
        files: Where it is.
        tokenizer: Its tokens.
    """

    def __init__(self, files: FrozenFiles, kept_bytes: int = _KEPT_BYTES) -> None:
        """Open it.

        Args:
            files: Of ``find_frozen``.
            kept_bytes: States are kept up to this size; those that were not asked for the longest go first.

        Raises:
            ArtifactError: If its tokens cannot be read.
        """
        self.files = files
        self.tokenizer: Tokenizer = load_tokenizer(files.folder)
        # Files may ask for a fixed length.
        self.tokenizer.no_padding()
        self._kept: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()
        self._free_bytes = kept_bytes

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenText:
        return self

    @property
    def width(self) -> int:
        """F."""
        return self.files.width

    @cached_property
    def hash(self) -> str:
        """Of weights, tokens and configuration, 64 hex digits; the same however the weights are cut into files.

        Raises:
            ArtifactError: If a file is damaged, or under the name of MiniLM lies something else.
            MachineError: If a package is missing.
        """
        _ = self.encoder  # what cannot compute has none: a training is refused before it begins
        found = _hash_files(self.files)
        if self.files.kind == "minilm" and found != _MINILM_HASH:
            raise ArtifactError(f"{self.files.folder} is not what {MINILM} 0.1.0 installs: install it again")
        return found

    @property
    def record(self) -> dict[str, Any]:
        """What a model folder says of it, as JSON values."""
        return {"name": self.files.name, "width": self.width, "hash": self.hash}

    @cached_property
    def encoder(self) -> MiniLM | TransformersEncoder:
        """The network, in eval mode, without gradients.

        Raises:
            ArtifactError: If its weights are damaged or do not fit its tokens.
            MachineError: If a package is missing.
        """
        module = load_minilm(self.files) if self.files.kind == "minilm" else load_transformers(self.files)
        highest = max(self.tokenizer.get_vocab(with_added_tokens=True).values())
        if highest >= module.num_embeddings:
            raise ArtifactError(
                f"{self.files.folder}: tokenizer.json has a token {highest}, the weights know {module.num_embeddings} "
                "tokens: they are of two models"
            )
        return module.eval().requires_grad_(False)

    def states(self, texts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
        """States of texts, one after another.

        Args:
            texts: Token numbers of each, n of them; a text may be empty.
            device: Where they are computed and wanted.

        Returns:
            ``(L, F)`` float32, without gradients.
        """
        found = [self._one(tuple(numbers), device) for numbers in texts]
        return torch.cat(found).to(device) if found else torch.zeros(0, self.width, device=device)

    def _one(self, numbers: tuple[int, ...], device: torch.device) -> Tensor:
        if not numbers:
            return torch.zeros(0, self.width)
        if numbers in self._kept:
            self._kept.move_to_end(numbers)
            return self._kept[numbers]
        # As precise in a training in bfloat16, which asks first perhaps, as for one who makes a video.
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            states = self.encoder.to(device)(torch.tensor(numbers, device=device)).float().cpu()  # (n, F)
        size = states.numel() * states.element_size()
        while self._kept and self._free_bytes < size:
            gone = self._kept.popitem(last=False)[1]
            self._free_bytes += gone.numel() * gone.element_size()
        if size <= self._free_bytes:
            self._kept[numbers] = states
            self._free_bytes -= size
        return states


def open_frozen(
    config: TextEncoderConfig, *, beside: Path | None = None, fetch: bool = False, weights: bool = True
) -> FrozenText | None:
    """The frozen text encoder of a recipe or a model, None if it has none; arguments and errors of ``find_frozen``."""
    files = find_frozen(config, beside=beside, fetch=fetch, weights=weights)
    return None if files is None else FrozenText(files)


def check_frozen(frozen: FrozenText, needed: Mapping[str, Any], folder: Path) -> None:
    """Whether it is the one that a model was trained with.

    Args:
        frozen: What was found.
        needed: The model's ``FrozenText.record``.
        folder: Of the model's text encoder.

    Raises:
        ArtifactError: If not; names both.
    """
    if frozen.hash != needed.get("hash"):
        raise ArtifactError(
            f"{folder} was trained beside the frozen text encoder {needed.get('name')} {str(needed.get('hash'))[:12]}, "
            f"but {frozen.files.folder} is {frozen.hash[:12]}: put the one it was trained with into {folder / 'frozen'}"
        )


def pair_tokenizers(
    learned: Tokenizer, frozen: FrozenText | None, config: TextEncoderConfig
) -> Tokenizer | PairedTokenizer:
    """What texts are written in: the learned tokens, and those of a frozen encoder if there is one."""
    if frozen is None:
        return learned
    return PairedTokenizer(learned, frozen.tokenizer, config.vocabulary_size, frozen.files.positions)


def _hash_files(files: FrozenFiles) -> str:
    config = {key: value for key, value in files.config.items() if key not in _SAYS_NOTHING and key[:1] != "_"}
    digest = hashlib.sha256(json.dumps([files.kind, config], sort_keys=True).encode())
    try:
        digest.update(hashlib.sha256((files.folder / "tokenizer.json").read_bytes()).digest())
        where: dict[str, Path] = {}
        for path in files.weights:
            with safe_open(path, framework="pt") as file:
                where |= {name: path for name in file.keys()}  # noqa: SIM118 - it is no mapping
        for name in sorted(where):
            with safe_open(where[name], framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    except OSError as error:
        raise MachineError(f"cannot read {files.folder}: {error}") from error
    except SafetensorError as error:
        raise ArtifactError(f"{files.folder} is damaged: {str(error).splitlines()[0]}") from error
    return digest.hexdigest()
