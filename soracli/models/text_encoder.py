"""Text to token states, by an encoder that is trained with the DiT: no download, and no word it cannot write.

Axes: L tokens of all texts, one after another; D its width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from soracli.models.config import TextEncoderConfig
from soracli.models.layers.attention import Segment
from soracli.models.layers.rope import rope_angles, rope_frequencies
from soracli.models.layers.transformer import TextBlock, start_small

_SECONDS_PER_TOKEN = 0.25
"""Text has one axis; its positions are laid along the rotary axis of time, this far apart."""


class TextEncoder(nn.Module):
    """Embeddings and a few bidirectional transformer blocks over byte-pair tokens."""

    frequencies: Tensor

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary_size, config.hidden_size)
        self.blocks = nn.ModuleList(
            TextBlock(config.hidden_size, config.num_heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.register_buffer("frequencies", rope_frequencies(config.hidden_size // config.num_heads), persistent=False)
        self.apply(start_small)

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """States of packed texts.

        Args:
            tokens: ``(L,)`` int64.
            lengths: Tokens of each text, adding up to L.

        Returns:
            ``(L, D)``.
        """
        place = torch.cat([torch.arange(length, device=tokens.device) for length in lengths])  # (L,)
        coordinates = torch.zeros(len(tokens), 3, device=tokens.device)
        coordinates[:, 0] = _SECONDS_PER_TOKEN * place
        angles = rope_angles(coordinates, self.frequencies)  # (L, P)
        segments = [Segment(length) for length in lengths]
        x: Tensor = self.embed(tokens)  # (L, D)
        for block in self.blocks:
            x = block(x, angles, segments)  # (L, D)
        return x
