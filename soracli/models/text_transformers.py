"""Text encoders of the library ``transformers``, T5, CLIP and others, from files on this machine.

Nothing is fetched, only safetensors are read, and no code that lies beside the weights is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from soracli.core.errors import ArtifactError, MachineError
from soracli.models.text_files import FrozenFiles

_CLIP = ("clip", "clip_text_model")
"""Types of models whose text encoder ``transformers`` does not list among them."""


class TransformersEncoder(nn.Module):
    """An encoder of ``transformers`` as one that reads a single text: never any padding.

    Differs from the source: CLIP's pipelines fill texts up to 77 tokens. It looks back only, so the states of the
    text's own tokens are the same.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    @property
    def num_embeddings(self) -> int:
        """Token numbers there are."""
        return int(self.module.get_input_embeddings().num_embeddings)

    def forward(self, numbers: Tensor) -> Tensor:
        """``(n,)`` to ``(n, D)``: the last layer's states, after its norm."""
        states: Tensor = self.module(
            input_ids=numbers[None], attention_mask=torch.ones_like(numbers)[None]
        ).last_hidden_state
        return states[0]


def load_transformers(files: FrozenFiles) -> TransformersEncoder:
    """The text encoder of a folder, on the CPU; weights in float16, in which T5 overflows, become float32.

    Raises:
        MachineError: If ``transformers`` is not installed.
        ArtifactError: If the folder holds no text encoder that it knows, or not all of its weights.
    """
    try:
        import transformers
    except ImportError as error:
        raise MachineError(f"{files.name} needs a package: pip install 'sora-trainer[transformers]'") from error
    builder: Any = (
        transformers.CLIPTextModel if files.config.get("model_type") in _CLIP else transformers.AutoModelForTextEncoding
    )
    try:
        with _quiet(transformers.logging):
            module, report = builder.from_pretrained(
                str(files.folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, SafetensorError,
            TypeError, ValueError) as error:  # fmt: skip
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ArtifactError(f"{files.folder} holds no text encoder that is read: {said[0].strip()}") from error
    # What a file lacks is left at random without an error.
    missing = sorted({*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])})
    if missing:
        raise ArtifactError(f"{files.folder} lacks {len(missing)} weights of its text encoder, among them {missing[0]}")
    if module.dtype == torch.float16:
        module = module.float()
    return TransformersEncoder(module)


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Without notes and bars about weights of a decoder or of an image encoder, which are not needed."""
    level, shows_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows_bars:
            logging.enable_progress_bar()
