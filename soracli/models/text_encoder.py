"""Text to token states, by an encoder that is trained with the DiT: no download, and no word it cannot write.

A frozen encoder may stand beside it: a text is then its learned tokens and, after them, its frozen ones, and each has a
state. The frozen encoder has read more than the captions of a training; the trained one sees what it hardly does, such
as left from right.

Axes: L tokens of all texts, one after another; D width of a state; F width of the frozen encoder's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.config import TextEncoderConfig
from soracli.models.layers.rope import rope_angles, rope_frequencies
from soracli.models.layers.segment import Segment
from soracli.models.layers.transformer import TextBlock, start_small
from soracli.models.text_frozen import FrozenText

_SECONDS_PER_TOKEN = 0.25
"""Text has one axis; its positions are laid along the rotary axis of time, this far apart."""


class TextEncoder(nn.Module):
    """Embeddings and a few bidirectional transformer blocks over byte-pair tokens, and the states of a frozen encoder.

    Attributes:
        frozen: That encoder; no weight of it is among this module's.
    """

    frequencies: Tensor

    def __init__(self, config: TextEncoderConfig, frozen: FrozenText | None = None) -> None:
        """Build it.

        Args:
            config: Sizes.
            frozen: What ``config.frozen`` names.

        Raises:
            ValueError: If one is named and none given, or the other way round.
        """
        super().__init__()
        if (config.frozen == "none") != (frozen is None):
            raise ValueError(f"config.frozen is {config.frozen}, but frozen is {frozen}")
        self.config = config
        self.frozen = frozen
        self.embed = nn.Embedding(config.vocabulary_size, config.hidden_size)
        self.blocks = nn.ModuleList(
            TextBlock(config.hidden_size, config.num_heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.frozen_embed = None if frozen is None else nn.Linear(frozen.width, config.hidden_size)
        self.register_buffer("frequencies", rope_frequencies(config.hidden_size // config.num_heads), persistent=False)
        self.apply(start_small)

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """States of packed texts.

        Args:
            tokens: ``(L,)`` int64; numbers from ``config.vocabulary_size`` on are the frozen encoder's, moved up by it.
            lengths: Tokens of each text, adding up to L.

        Returns:
            ``(L, D)``.
        """
        if self.frozen is None or self.frozen_embed is None:
            return self._learned(tokens, lengths)
        first = self.config.vocabulary_size
        is_frozen = tokens >= first  # (L,)
        texts = [text.tolist() for text in tokens.cpu().split(list(lengths))]
        learned = self._learned(tokens[~is_frozen], [sum(number < first for number in text) for text in texts])
        states = self.frozen.states([[n - first for n in text if n >= first] for text in texts], tokens.device)
        # Encoders differ in scale by orders of magnitude, and a few numbers of T5's states dwarf the rest.
        states = functional.layer_norm(states, states.shape[-1:])  # (Lf, F)
        projected = self.frozen_embed(states.to(self.frozen_embed.weight.dtype))  # (Lf, D)
        place = torch.where(is_frozen, len(learned) + is_frozen.cumsum(0) - 1, (~is_frozen).cumsum(0) - 1)  # (L,)
        return torch.cat([learned, projected])[place]

    def _learned(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """States of learned tokens alone."""
        place = torch.cat([torch.arange(length, device=tokens.device) for length in lengths])  # (L,)
        coordinates = torch.zeros(len(tokens), 3, device=tokens.device)
        coordinates[:, 0] = _SECONDS_PER_TOKEN * place
        angles = rope_angles(coordinates, self.frequencies)  # (L, P)
        segments = [Segment(length) for length in lengths]
        x: Tensor = self.embed(tokens)  # (L, D)
        for block in self.blocks:
            x = block(x, angles, segments)  # (L, D)
        return x
