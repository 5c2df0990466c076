"""The diffusion transformer: packed tokens to velocities.

Axes: L tokens of all samples, D width, P numbers in a patch, R condition rows (one a latent frame), N heads.
Convention: t = 0 is data, t = 1 is noise; the output is the velocity, noise minus data.
Source: DiT (Peebles and Xie 2022, arXiv:2212.09748) with text as tokens of the same sequence, rotary positions in
seconds and pixels, QK-norm, and a noise level of its own for every latent frame (Diffusion Forcing, Chen et al. 2024,
arXiv:2407.01392). Differs from the source: conditions are per token, not per sample. What else a block may be, how the
text may enter and where attention may stay: ``DiTConfig``, ``models.layers.transformer``, ``models.layers.windows``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from soracli.models.config import DiTConfig
from soracli.models.layers.attention import Keys
from soracli.models.layers.embeddings import NumberEmbedding
from soracli.models.layers.rope import rope_angles, rope_frequencies, rotate
from soracli.models.layers.transformer import BLOCKS, Modulation, start_small, zero_linear
from soracli.models.layers.windows import Windows, tiles_of, windows_of
from soracli.models.tokens import TEXT, Tokens, without_text


@dataclass(frozen=True)
class Past:
    """What tokens left behind, by segment: keys and values of every layer, and where they stand.

    Attributes:
        keys: ``keys[layer][segment]``, not rotated. Spatial layers of windows leave only the text.
        coordinates: ``(M, 3)`` by segment.
        tiles: ``(M,)`` by segment, which tile of its frame each stands in (``tiles_of``); empty without windows.
        text: ``text[layer][segment]``, keys and values of the cross-attention; empty without one, or if this past is
            of tokens that saw an earlier one's.
        states: ``(L, D)`` of all tokens after the block that was asked for, if any.
    """

    keys: tuple[tuple[Keys, ...], ...]
    coordinates: tuple[Tensor, ...]
    tiles: tuple[Tensor, ...] = ()
    text: tuple[tuple[Keys, ...], ...] = ()
    states: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """A past that is looked at, its keys rotated to where they stand: made once for all steps of a block.

    Attributes:
        keys: ``keys[layer][segment]``, rotated.
        tiles: As in ``Past``.
        text: As in ``Past``.
    """

    keys: tuple[tuple[Keys, ...], ...]
    tiles: tuple[Tensor, ...] = ()
    text: tuple[tuple[Keys, ...], ...] = ()

    def first(self, count: int) -> Context:
        """The same of the first segments alone."""
        keys, text = (tuple(layer[:count] for layer in layers) for layers in (self.keys, self.text))
        return Context(keys, self.tiles[:count], text)


class DiT(nn.Module):
    """Velocities of the tokens that are being made, given text and what is already there.

    Attributes:
        checkpoints_activations: Whether blocks are computed again on the way back instead of keeping what they
            computed: a training then needs the memory of one block and of every block's input, and a third more work.
            While gradients are recorded no past is left behind, which would keep keys and values of all blocks.
    """

    frequencies: Tensor

    def __init__(self, config: DiTConfig, latent_channels: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_size
        patch = config.patch_size[0] * config.patch_size[1] * config.patch_size[2] * latent_channels
        self.patch_embed = nn.Linear(patch, dim)
        self.estimate_embed = nn.Linear(patch, dim, bias=False) if config.self_conditioned else None
        # What marks the tokens of a source; without a mark they would be context of the video that is made.
        self.source_embed = nn.Parameter(torch.zeros(dim)) if config.edits else None
        self.text_embed = nn.Linear(text_width, dim)
        self.kind_embed = nn.Embedding(3, dim)
        self.time_embed = NumberEmbedding(dim)
        self.step_embed = NumberEmbedding(dim)
        self.guidance_embed = NumberEmbedding(dim)
        build_block = BLOCKS[config.block]
        self.shared = Modulation(dim, 0, build_block.PARTS) if config.modulation_rank else None
        self.blocks = nn.ModuleList(
            build_block(
                dim,
                config.num_heads,
                config.mlp_ratio,
                config.modulation_rank,
                has_cross=config.text == "cross",
                qk_norm=config.qk_norm,
                gelu=config.gelu,
            )
            for _ in range(config.depth)
        )
        self.final_modulation = nn.Linear(dim, 2 * dim)
        self.final = nn.Linear(dim, patch)
        self.register_buffer("frequencies", rope_frequencies(dim // config.num_heads), persistent=False)
        self.checkpoints_activations = False
        self._start()

    def _start(self) -> None:
        """DiT's start: the network gives exactly 0, and every block is the identity (DiffiT's are not)."""
        self.apply(start_small)
        for embedding in (self.step_embed, self.guidance_embed):
            zero_linear(embedding.embed_out)
        for block in self.blocks:
            block.start()  # type: ignore[operator]
        if self.shared is not None and self.config.block == "adaln":
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
                # Of spatial layers there is only the text, which comes first.
                tuple(
                    Keys(rotate(kept.key, turn[: len(kept.key)]), kept.value)
                    for kept, turn in zip(layer, angles, strict=True)
                )
                for layer in past.keys
            ),
            past.tiles,
            past.text,
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
            context: Of ``look_at``: earlier tokens of each segment, which every token of the segment sees; with
                cross-attention it brings the text, too.
            estimates: ``(Lv, P)`` what the model said last of the data behind the patches, 0 where it said nothing; for
                a model with ``self_conditioned``. None is 0 everywhere.
            states_after: Which block, from 1, ``Past.states`` is wanted of; 0 for none.

        Returns:
            Velocities ``(Ln, P)`` of the wanted tokens, and this sequence's own keys and values.

        Raises:
            ValueError: With cross-attention, if there is a text both in the sequence and in the context; without
                ``dit.edits``, if there is a source.
        """
        text = self.text_embed(text_states)  # (Lt, D)
        video = self.patch_embed(tokens.patches.to(text.dtype)) if len(tokens.patches) else text[:0]  # (Lv, D)
        if self.estimate_embed is not None and estimates is not None:
            video = video + self.estimate_embed(estimates.to(text.dtype))  # (Lv, D)
        texts: tuple[tuple[Keys, ...], ...] = ()  # [layer][segment], for cross-attention
        text_lengths = tokens.text_lengths
        if self.config.text == "cross":
            texts = self._read_texts(text, tokens.text_lengths, context)
            tokens, text, text_lengths = without_text(tokens), text[:0], (0,) * len(tokens.segments)
        x = torch.cat([text, video])[tokens.order] + self.kind_embed(tokens.kind)  # (L, D)
        if self.source_embed is not None:
            x = x + tokens.of_source[:, None] * self.source_embed  # (L, D)
        elif bool(tokens.of_source.any()):
            raise ValueError("a source, but this DiT was not made to edit: dit.edits = false")

        noise, step, guidance = tokens.conditions.unbind(-1)  # 3 (R,)
        condition = self.time_embed(noise) + self.step_embed(step) + self.guidance_embed(guidance)  # (R, D)
        condition = functional.silu(condition)  # (R, D)
        shared = self.shared(condition) if self.shared is not None else 0.0  # (R, 6 D) or (R, 3 D)

        angles = rope_angles(tokens.coordinates, self.frequencies)  # (L, K / 2)
        windows = self.windows(tokens, context)
        recomputes = self.checkpoints_activations and torch.is_grad_enabled()
        kept: list[tuple[Keys, ...]] = []
        states: Tensor | None = None
        for layer, block in enumerate(self.blocks):
            before: Sequence[Keys] | None = context.keys[layer] if context is not None else None
            seen = texts[layer] if texts else ()
            inputs = (x, condition, shared, tokens.row, angles, tokens.segments, before, windows[layer], seen)
            if recomputes:
                x, _ = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)  # (L, D)
            elif len(x):
                x, keys = block(*inputs)  # (L, D)
                if self._is_spatial(layer):
                    keys = [Keys(own.key[:n], own.value[:n]) for own, n in zip(keys, text_lengths, strict=True)]
                kept.append(tuple(keys))
            else:  # texts alone, and none in the sequence
                kept.append(tuple(self._no_keys(x, len(tokens.segments))))
            if layer + 1 == states_after:
                states = x  # (L, D)

        wanted = x[tokens.wanted]  # (Ln, D)
        shift, scale = self.final_modulation(condition)[tokens.row[tokens.wanted]].chunk(2, -1)  # 2 (Ln, D)
        wanted = functional.layer_norm(wanted, wanted.shape[-1:], eps=1e-6) * (1 + scale) + shift  # (Ln, D)
        return self.final(wanted), self._past(kept, tokens, texts if context is None else (), states)  # (Ln, P)

    def windows(self, tokens: Tokens, context: Context | None = None) -> list[list[Windows] | None]:
        """Where attention stays in each layer; None: in segments.

        Args:
            tokens: The sequence; with cross-attention ``without_text``.
            context: Of the pass.
        """
        if self.config.attention == "full":
            return [None] * len(self.blocks)
        past = context.tiles if context is not None else None
        # Of spatial layers the past is the text alone.
        past_text = [place[place < 0] for place in past] if past is not None else None
        frames = windows_of(torch.where(tokens.kind == TEXT, -1, tokens.row), tokens.segments, past_text)
        tubes = windows_of(tiles_of(tokens.grid, self.config.window_size), tokens.segments, past)
        return [frames if self._is_spatial(layer) else tubes for layer in range(len(self.blocks))]

    def _is_spatial(self, layer: int) -> bool:
        return self.config.attention == "windows" and layer % 2 == 0

    def _read_texts(
        self, text: Tensor, lengths: Sequence[int], context: Context | None
    ) -> tuple[tuple[Keys, ...], ...]:
        """``[layer][segment]`` for cross-attention: of these texts, or of the context, where they were read before."""
        if context is not None:
            if len(text):
                raise ValueError("a text in the sequence, but the context of a DiT with cross-attention brings its own")
            return context.text
        text = functional.layer_norm(text, text.shape[-1:], eps=1e-6)  # (Lt, D)
        return tuple(block.cross.read(text, lengths) for block in self.blocks)  # type: ignore[operator, union-attr]

    def _no_keys(self, x: Tensor, num_segments: int) -> list[Keys]:
        nothing = x.new_zeros(0, self.config.num_heads, x.shape[-1] // self.config.num_heads)  # (0, N, K)
        return [Keys(nothing, nothing)] * num_segments

    def _past(
        self, kept: list[tuple[Keys, ...]], tokens: Tokens, texts: tuple[tuple[Keys, ...], ...], states: Tensor | None
    ) -> Past:
        lengths = [segment.length for segment in tokens.segments]
        has_windows = self.config.attention == "windows"
        tiles = tiles_of(tokens.grid, self.config.window_size).split(lengths) if has_windows else ()
        return Past(tuple(kept), tokens.coordinates.split(lengths), tiles=tuple(tiles), text=texts, states=states)
