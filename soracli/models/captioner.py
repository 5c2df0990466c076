"""The captioner: sees a clip, writes what it shows, and says how well a text fits it.

Source: CoCa (Yu et al. 2022, arXiv:2205.01917), as DALL-E 3's captioner (Betker et al. 2023, section 2): the first
blocks of the decoder read text alone and give the embedding that is compared with that of the video, the others look
at the video and write. Differs from the source: the mark of the end, where the text ends, takes the place of a token
of its own; one learned query pools the video for the comparison, and the decoder sees all tokens.

Axes: B clips, T frames, S side, M tokens of video, L tokens of text, D width, V vocabulary, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.captioner_eye import CaptionerEye
from soracli.models.config import CaptionerConfig
from soracli.models.layers.attention import RMSNorm
from soracli.models.layers.batch_attention import CaptionBlock, KeyValue, LookAt
from soracli.models.layers.transformer import start_small

MARK = 0
"""Token of the tokenizer's mark: it begins a text, and after the last word it ends it."""


@dataclass(frozen=True)
class Told:
    """What came of some tokens.

    Attributes:
        logits: ``(B, L, V)`` of the token after each.
        read: ``(B, L, D)`` what was made of the text alone.
        past: Of every block, what later tokens need.
    """

    logits: Tensor
    read: Tensor
    past: tuple[KeyValue, ...]


class Captioner(nn.Module):
    """Sees, reads and writes."""

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.config = config
        dim, heads = config.hidden_size, config.num_heads
        self.eye = CaptionerEye(config)
        self.embed = nn.Embedding(config.vocabulary_size, dim)
        self.place_embed = nn.Parameter(0.02 * torch.randn(config.max_tokens, dim))
        self.readers = nn.ModuleList(
            CaptionBlock(dim, heads, config.mlp_ratio, looks=False) for _ in range(config.read_depth)
        )
        self.writers = nn.ModuleList(
            CaptionBlock(dim, heads, config.mlp_ratio, looks=True) for _ in range(config.write_depth)
        )
        self.norm = RMSNorm(dim)
        self.query_embed = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.pool = LookAt(dim, heads)
        self.head_video = nn.Linear(dim, config.embedding_size, bias=False)
        self.read_norm = RMSNorm(dim)
        self.head_text = nn.Linear(dim, config.embedding_size, bias=False)
        self.apply(start_small)

    def see(self, frames: Tensor, times: Tensor) -> Tensor:
        """Tokens ``(B, M, D)`` of frames ``(B, T, 3, S, S)`` in [-1, 1] at ``(B, T)`` seconds."""
        seen: Tensor = self.eye(frames, times)  # (B, M, D)
        return seen

    def look(self, seen: Tensor) -> tuple[KeyValue, ...]:
        """What each writing block needs of a video, made once."""
        return tuple(block.look.read(seen) for block in self.writers)  # type: ignore[operator, union-attr]

    def tell(self, tokens: Tensor, looked: Sequence[KeyValue], past: Sequence[KeyValue] | None = None) -> Told:
        """Read tokens and say what comes after each.

        Args:
            tokens: ``(B, L)`` int64.
            looked: Of ``look``.
            past: Of the tokens before these.
        """
        before = past[0].key.shape[2] if past else 0
        x = self.embed(tokens) + self.place_embed[before : before + tokens.shape[1]]  # (B, L, D)
        sights = (*(None for _ in self.readers), *looked)
        known: list[KeyValue] = []
        read = x
        for number, block in enumerate((*self.readers, *self.writers)):
            if number == len(self.readers):
                read = x
            x, layer = block(x, sights[number], past[number] if past else None)  # (B, L, D)
            known.append(layer)
        logits = functional.linear(self.norm(x), self.embed.weight)  # (B, L, V)
        return Told(logits, read, tuple(known))

    def embed_video(self, seen: Tensor) -> Tensor:
        """Unit vectors ``(B, E)`` of videos ``(B, M, D)``."""
        pooled = self.pool(self.query_embed.expand(len(seen), -1, -1), self.pool.read(seen))[:, 0]  # (B, D)
        return functional.normalize(self.head_video(pooled).float(), dim=-1)  # (B, E)

    def embed_read(self, read: Tensor, ends: Tensor) -> Tensor:
        """Unit vectors ``(B, E)`` of texts whose last tokens stand at ``(B,)`` of ``Told.read``."""
        last = read[torch.arange(len(read), device=read.device), ends]  # (B, D)
        return functional.normalize(self.head_text(self.read_norm(last)).float(), dim=-1)  # (B, E)

    def embed_text(self, tokens: Tensor, ends: Tensor) -> Tensor:
        """Unit vectors ``(B, E)`` of texts ``(B, L)`` that end, with their mark, at ``(B,)``."""
        x = self.embed(tokens) + self.place_embed[: tokens.shape[1]]  # (B, L, D)
        for block in self.readers:
            x = block(x, None, None)[0]  # (B, L, D)
        return self.embed_read(x, ends)  # (B, E)
