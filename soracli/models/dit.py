"""The diffusion transformer: packed tokens to velocities.

Axes: L tokens of all samples, D width, P numbers in a patch, R condition rows (one a latent frame), N heads.
Convention: t = 0 is data, t = 1 is noise; the output is the velocity, noise minus data.
Source: DiT (Peebles and Xie 2022, arXiv:2212.09748) with text as tokens of the same sequence, rotary positions in
seconds and pixels, QK-norm, and a noise level of its own for every latent frame (Diffusion Forcing, Chen et al. 2024,
arXiv:2407.01392). Differs from the source: conditions are per token, not per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from soracli.models.config import DiTConfig
from soracli.models.layers.attention import Keys
from soracli.models.layers.embeddings import NumberEmbedding
from soracli.models.layers.rope import rope_angles, rope_frequencies, rotate
from soracli.models.layers.transformer import DiTBlock, Modulation, start_small, zero_linear
from soracli.models.tokens import Tokens


@dataclass(frozen=True)
class Past:
    """What tokens left behind, by segment: keys and values of every layer, and where they stand.

    Attributes:
        keys: ``keys[layer][segment]``, not rotated.
        coordinates: ``(M, 3)`` by segment.
        states: ``(L, D)`` of all tokens after the block that was asked for, if any.
    """

    keys: tuple[tuple[Keys, ...], ...]
    coordinates: tuple[Tensor, ...]
    states: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """A past that is looked at, its keys rotated to where they stand: made once for all steps of a block.

    Attributes:
        keys: ``keys[layer][segment]``, rotated.
    """

    keys: tuple[tuple[Keys, ...], ...]


class DiT(nn.Module):
    """Velocities of the tokens that are being made, given text and what is already there."""

    frequencies: Tensor

    def __init__(self, config: DiTConfig, latent_channels: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_size
        patch = config.patch_size[0] * config.patch_size[1] * config.patch_size[2] * latent_channels
        self.patch_embed = nn.Linear(patch, dim)
        self.estimate_embed = nn.Linear(patch, dim, bias=False) if config.self_conditioned else None
        self.text_embed = nn.Linear(text_width, dim)
        self.kind_embed = nn.Embedding(3, dim)
        self.time_embed = NumberEmbedding(dim)
        self.step_embed = NumberEmbedding(dim)
        self.guidance_embed = NumberEmbedding(dim)
        self.shared = Modulation(dim, 0) if config.modulation_rank else None
        self.blocks = nn.ModuleList(
            DiTBlock(dim, config.num_heads, config.mlp_ratio, config.modulation_rank) for _ in range(config.depth)
        )
        self.final_modulation = nn.Linear(dim, 2 * dim)
        self.final = nn.Linear(dim, patch)
        self.register_buffer("frequencies", rope_frequencies(dim // config.num_heads), persistent=False)
        self._start()

    def _start(self) -> None:
        """DiT's start: the network gives exactly 0, and every block is the identity."""
        self.apply(start_small)
        for embedding in (self.step_embed, self.guidance_embed):
            zero_linear(embedding.embed_out)
        for block in self.blocks:
            zero_linear(block.modulation.expand)  # type: ignore[arg-type]
        if self.shared is not None:
            zero_linear(self.shared.expand)
        if self.estimate_embed is not None:
            zero_linear(self.estimate_embed)
        zero_linear(self.final_modulation)
        zero_linear(self.final)

    def look_at(self, past: Past) -> Context:
        """Rotate the keys of a past to its coordinates, for ``forward`` to see."""
        angles = [rope_angles(place, self.frequencies) for place in past.coordinates]  # S (M, K / 2)
        return Context(
            tuple(
                tuple(Keys(rotate(kept.key, turn), kept.value) for kept, turn in zip(layer, angles, strict=True))
                for layer in past.keys
            )
        )

    def forward(
        self,
        tokens: Tokens,
        text_states: Tensor,
        context: Context | None = None,
        estimates: Tensor | None = None,
        states_after: int = 0,
    ) -> tuple[Tensor, Past]:
        """One pass over a packed sequence.

        Self-conditioning (Chen et al. 2022, Bit Diffusion, arXiv:2208.04202) puts the estimates beside the patches.
        Differs from the source: their half of the first layer starts at 0, so a model that never saw any goes on as it
        is.

        Args:
            tokens: The sequence; see ``Tokens``.
            text_states: ``(Lt, text width)`` of the text encoder.
            context: Of ``look_at``: earlier tokens of each segment, which every token of the segment sees.
            estimates: ``(Lv, P)`` what the model said last of the data behind the patches, 0 where it said nothing; for
                a model with ``self_conditioned``. None is 0 everywhere.
            states_after: Which block, from 1, ``Past.states`` is wanted of; 0 for none.

        Returns:
            Velocities ``(Ln, P)`` of the wanted tokens, and this sequence's own keys and values.
        """
        lengths = [segment.length for segment in tokens.segments]
        text = self.text_embed(text_states)  # (Lt, D)
        video = self.patch_embed(tokens.patches.to(text.dtype)) if len(tokens.patches) else text[:0]  # (Lv, D)
        if self.estimate_embed is not None and estimates is not None:
            video = video + self.estimate_embed(estimates.to(text.dtype))  # (Lv, D)
        x = torch.cat([text, video])[tokens.order] + self.kind_embed(tokens.kind)  # (L, D)

        noise, step, guidance = tokens.conditions.unbind(-1)  # 3 (R,)
        condition = self.time_embed(noise) + self.step_embed(step) + self.guidance_embed(guidance)  # (R, D)
        condition = functional.silu(condition)  # (R, D)
        shared = self.shared(condition) if self.shared is not None else 0.0  # (R, 6 D)

        angles = rope_angles(tokens.coordinates, self.frequencies)  # (L, K / 2)
        kept: list[tuple[Keys, ...]] = []
        states: Tensor | None = None
        for layer, block in enumerate(self.blocks):
            before: Sequence[Keys] | None = context.keys[layer] if context is not None else None
            x, keys = block(x, condition, shared, tokens.row, angles, tokens.segments, before)  # (L, D)
            kept.append(tuple(keys))
            if layer + 1 == states_after:
                states = x  # (L, D)

        wanted = x[tokens.wanted]  # (Ln, D)
        shift, scale = self.final_modulation(condition)[tokens.row[tokens.wanted]].chunk(2, -1)  # 2 (Ln, D)
        wanted = functional.layer_norm(wanted, wanted.shape[-1:], eps=1e-6) * (1 + scale) + shift  # (Ln, D)
        return self.final(wanted), Past(tuple(kept), tokens.coordinates.split(lengths), states)  # (Ln, P)
