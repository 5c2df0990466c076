"""Everything that makes a video from a prompt, as one thing that is loaded from a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soracli.core.errors import ArtifactError
from soracli.core.latent_spec import LatentSpec
from soracli.models.config import DiTConfig, TextEncoderConfig
from soracli.models.dit import DiT
from soracli.models.record import part_folder
from soracli.models.store import build_filled, load_vae, read_part, save_part
from soracli.models.text_encoder import TextEncoder
from soracli.models.text_frozen import FrozenText, check_frozen, open_frozen, pair_tokenizers
from soracli.models.tokenizer import PairedTokenizer, encode_text, load_tokenizer, save_tokenizer
from soracli.models.video_codec import VideoCodec


@dataclass(frozen=True)
class Generator:
    """A DiT with the text encoder it was trained with and the VAE whose latents it makes.

    Attributes:
        dit: The transformer.
        text: The text encoder, with the frozen one beside it if there is one.
        tokenizer: Its tokens, and those of the frozen one.
        vae: The video VAE.
        spec: Of its latents.
        defaults: JSON values the training recommends: sampling settings, rate, sizes.
        model_hash: Of the DiT.
    """

    dit: DiT
    text: TextEncoder
    tokenizer: Tokenizer | PairedTokenizer
    vae: VideoCodec
    spec: LatentSpec
    defaults: Mapping[str, Any]
    model_hash: str

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.dit.final.weight.device

    def prompt_tokens(self, prompt: str) -> Tensor:
        """Token numbers ``(n,)`` of a prompt; the empty one gives the mark of no text."""
        return torch.tensor(encode_text(self.tokenizer, prompt, self.text.config.max_tokens))


def use_dtype(model: Generator, dtype: torch.dtype) -> None:
    """Compute in this number type from now on; positions and noise levels stay float32."""
    for module in (model.dit, model.text, model.vae):
        for parameter in module.parameters():
            parameter.data = parameter.data.to(dtype)


def save_dit(
    folder: Path,
    dit: Mapping[str, Tensor],
    config: DiTConfig,
    text: TextEncoder,
    tokenizer: Tokenizer | PairedTokenizer,
    spec: LatentSpec,
    facts: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> str:
    """Write ``dit/`` and ``text/`` into a model folder; returns the DiT's hash.

    A frozen text encoder is named there with its hash, not copied.
    """
    beside = {} if text.frozen is None else {"frozen": text.frozen.record}
    text_hash = save_part(folder / "text", "text", text.state_dict(), text.config, beside, dtype)
    save_tokenizer(tokenizer, folder / "text")
    about = {"latents": spec.to_dict(), "text_hash": text_hash, **facts}
    return save_part(folder / "dit", "dit", dit, config, about, dtype)


def load_generator(model: Path, device: torch.device | str = "cpu", *, frozen: FrozenText | None = None) -> Generator:
    """Read a whole model: a folder with ``vae/``, ``dit/`` and ``text/``, or a run with such a ``model/``.

    Args:
        model: The folder.
        device: Where its weights go.
        frozen: A frozen text encoder that is open already; taken if the model needs one. None looks for the one it
            names, on this machine alone.

    Raises:
        ArtifactError: If a part is missing or damaged, or the parts were not made for each other.
        MachineError: If the frozen text encoder it needs is not installed or not on this machine.
    """
    folder = part_folder(model, "dit")
    weights, config, record = read_part(folder, "dit", DiTConfig)
    text_folder = folder.parent / "text"
    text_weights, text_config, text_record = read_part(text_folder, "text", TextEncoderConfig)
    vae, spec = load_vae(folder.parent, device)
    made_for = LatentSpec.from_dict(record.get("latents", {}))
    if made_for != spec:
        raise ArtifactError(
            f"{folder} was trained on latents of VAE {made_for.vae_hash[:12]}, but {folder.parent / 'vae'} is "
            f"{spec.vae_hash[:12]}: put the VAE beside it that it was trained with"
        )
    if record.get("text_hash") != text_record["hash"]:
        raise ArtifactError(f"{text_folder} is not the text encoder that {folder} was trained with")
    if text_config.frozen == "none":
        frozen = None
    else:
        if frozen is None or frozen.files.kind != text_config.frozen:
            frozen = open_frozen(text_config, beside=text_folder)
        assert frozen is not None
        check_frozen(frozen, text_record.get("frozen", {}), text_folder)
    text = build_filled(lambda: TextEncoder(text_config, frozen), text_weights, text_folder)
    dit = build_filled(lambda: DiT(config, spec.channels, text_config.hidden_size), weights, folder)
    return Generator(
        dit=dit.eval().requires_grad_(False).to(device),
        text=text.eval().requires_grad_(False).to(device),
        tokenizer=pair_tokenizers(load_tokenizer(text_folder), frozen, text_config),
        vae=vae,
        spec=spec,
        defaults=record.get("defaults", {}),
        model_hash=str(record["hash"]),
    )
