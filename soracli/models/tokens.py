"""Samples as one packed sequence of tokens: text first, then pieces of video in the order they are generated.

Axes: C channels, T latent frames, H rows, W columns of latents; L tokens of all samples; P numbers in a patch.

A piece is a few latent frames that are seen or made together. A clean piece is given or already made; a noisy one is
being made. Attention is causal in the order of generation, not in time: text sees text; a clean piece sees text and
the clean pieces up to its own block; a noisy piece sees text, the clean pieces of earlier blocks, and itself. What a
video is an edit of is a clean piece before all blocks, its source: it sees text and itself, and all others see it. In
training a clean and one or more noisy copies of a block stand in one sequence, so one pass trains every block (teacher
forcing), at several noise levels for one reading of text and context; when sampling, what came before is held as keys
and values and only the piece in work is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

from soracli.models.layers.rope import PIXELS_PER_UNIT
from soracli.models.layers.segment import Segment

TEXT, ONE_FRAME, MANY_FRAMES = 0, 1, 2
"""Kinds of tokens: text, a latent that holds one frame, a latent that holds several."""
TEXT_BLOCK, SOURCE_BLOCK = -1, 0
"""Places before all blocks in the order of generation: that of the text, and that of a source."""


@dataclass(frozen=True)
class Piece:
    """Latent frames that are seen or made together.

    Attributes:
        latents: ``(C, T, H, W)``, normalised; for a noisy piece the noisy ones.
        seconds: ``(T,)`` time of each latent frame.
        one_frame: ``(T,)`` bool, whether it holds a single frame.
        t: ``(T,)`` noise level, 0 data to 1 noise.
        block: Place in the order of generation, from 1; ``SOURCE_BLOCK`` makes it the source that the sample is an
            edit of, clean and at the same seconds and places as the frames that are made of it.
        clean: Whether it is context; the others are predicted.
        copy: Which noisy copy of its block; copies do not see one another.
        step_size: For few-step models: how far one step goes, 0 (ordinary) to 1 (all the way), before times are
            shifted. What is clean has none: context is read alike whatever is made beside it.
        guidance: For models with guidance folded in: ``1 - 1 / guidance_scale``, 0 for none.
    """

    latents: Tensor
    seconds: Tensor
    one_frame: Tensor
    t: Tensor
    block: int
    clean: bool
    copy: int = 0
    step_size: float = 0.0
    guidance: float = 0.0

    @property
    def is_source(self) -> bool:
        """Whether it is what the sample is an edit of."""
        return self.block == SOURCE_BLOCK


@dataclass(frozen=True)
class Sample:
    """One video or image with its text.

    Attributes:
        text: ``(n,)`` token numbers; empty when the text is already in the keys and values.
        pieces: In any order; each block at most once clean and once in every noisy copy, and at most one source.
    """

    text: Tensor
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Tokens:
    """A packed sequence, ready for the DiT.

    Attributes:
        text: ``(Lt,)`` token numbers of all texts; ``text_lengths`` says how many each sample has.
        patches: ``(Lv, P)`` of all pieces; ``(0, 0)`` if there are only texts.
        order: ``(L,)`` where each token of the sequence is found in texts followed by patches.
        kind: ``(L,)`` TEXT, ONE_FRAME or MANY_FRAMES.
        coordinates: ``(L, 3)`` seconds, and rows and columns from the middle in units of 128 pixels.
        row: ``(L,)`` which condition row each token has.
        conditions: ``(R, 3)`` noise level, step size, guidance.
        segments: One a sample.
        wanted: ``(Ln,)`` places in the sequence of tokens to predict.
        grid: ``(L, 4)`` row and column of each patch in its frame, and how many rows and columns that has; 0 for text.
        of_source: ``(L,)`` bool, whether a token is of a source.
    """

    text: Tensor
    text_lengths: tuple[int, ...]
    patches: Tensor
    order: Tensor
    kind: Tensor
    coordinates: Tensor
    row: Tensor
    conditions: Tensor
    segments: tuple[Segment, ...]
    wanted: Tensor
    grid: Tensor
    of_source: Tensor

    def to(self, device: torch.device) -> Tokens:
        """The same on another device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        segments = tuple(
            Segment(part.length, None if part.mask is None else part.mask.to(device)) for part in self.segments
        )
        return replace(self, segments=segments, **tensors)  # type: ignore[arg-type]


@dataclass
class _Parts:
    """What the sequence is put together from, growing sample by sample."""

    texts: list[Tensor] = field(default_factory=list)
    patches: list[Tensor] = field(default_factory=list)
    is_text: list[Tensor] = field(default_factory=list)
    kind: list[Tensor] = field(default_factory=list)
    coordinates: list[Tensor] = field(default_factory=list)
    row: list[Tensor] = field(default_factory=list)
    conditions: list[Tensor] = field(default_factory=list)
    wanted: list[Tensor] = field(default_factory=list)
    grid: list[Tensor] = field(default_factory=list)
    of_source: list[Tensor] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


def pack_tokens(
    samples: Sequence[Sample], patch_size: tuple[int, int, int], pixels_per_latent: tuple[int, int]
) -> Tokens:
    """Put samples one after another, each with its own mask.

    Args:
        samples: At least one; all latents with the same channels, of any length and size.
        patch_size: Of the DiT.
        pixels_per_latent: Rows and columns of pixels under one latent.

    Raises:
        ValueError: If latents are no multiple of the patch, or a source is noisy.
    """
    parts = _Parts()
    rows = 0
    for sample in samples:
        count = len(sample.text)
        parts.texts.append(sample.text)
        parts.is_text.append(torch.ones(count, dtype=torch.bool))
        parts.kind.append(torch.full((count,), TEXT))
        parts.coordinates.append(torch.zeros(count, 3))
        parts.row.append(torch.full((count,), rows))
        parts.wanted.append(torch.zeros(count, dtype=torch.bool))
        parts.grid.append(torch.zeros(count, 4, dtype=torch.long))
        parts.of_source.append(torch.zeros(count, dtype=torch.bool))
        parts.conditions.append(torch.zeros(1, 3))
        rows += 1
        lengths, blocks, clean, copies = [count], [TEXT_BLOCK], [True], [0]
        for piece in sample.pieces:
            if piece.is_source and not piece.clean:
                raise ValueError("a source is clean: it is what an edit begins from, not what is made")
            patches = patchify(piece.latents, patch_size)  # (T, S, P)
            frames, per_frame = patches.shape[:2]
            parts.patches.append(patches.flatten(0, 1))
            parts.is_text.append(torch.zeros(frames * per_frame, dtype=torch.bool))
            kind = torch.where(piece.one_frame, ONE_FRAME, MANY_FRAMES)
            parts.kind.append(kind.repeat_interleave(per_frame))
            parts.coordinates.append(_coordinates(piece, patch_size, pixels_per_latent))
            parts.row.append((rows + torch.arange(frames)).repeat_interleave(per_frame))
            condition = torch.tensor([[0.0, piece.step_size, piece.guidance]]).repeat(frames, 1)
            condition[:, 0] = piece.t
            parts.conditions.append(condition)
            parts.wanted.append(torch.full((frames * per_frame,), not piece.clean))
            size = (piece.latents.shape[2] // patch_size[1], piece.latents.shape[3] // patch_size[2])
            parts.grid.append(_grid(*size).repeat(frames, 1))
            parts.of_source.append(torch.full((frames * per_frame,), piece.is_source))
            rows += frames
            lengths.append(frames * per_frame)
            blocks.append(piece.block)
            clean.append(piece.clean)
            copies.append(piece.copy)
        parts.segments.append(Segment(sum(lengths), visibility(lengths, blocks, clean, copies)))
    is_text = torch.cat(parts.is_text)
    num_text = int(is_text.sum())
    order = torch.where(is_text, is_text.cumsum(0) - 1, num_text + (~is_text).cumsum(0) - 1)
    return Tokens(
        text=torch.cat(parts.texts),
        text_lengths=tuple(len(text) for text in parts.texts),
        patches=torch.cat(parts.patches) if parts.patches else torch.zeros(0, 0),
        order=order,
        kind=torch.cat(parts.kind),
        coordinates=torch.cat(parts.coordinates),
        row=torch.cat(parts.row),
        conditions=torch.cat(parts.conditions),
        segments=tuple(parts.segments),
        wanted=torch.cat(parts.wanted).nonzero()[:, 0],
        grid=torch.cat(parts.grid),
        of_source=torch.cat(parts.of_source),
    )


def without_text(tokens: Tokens) -> Tokens:
    """The same sequence with the texts taken out of it, for a DiT that sees them by cross-attention.

    ``text``, ``text_lengths`` and the conditions stay; ``order`` now counts patches only.
    """
    if not sum(tokens.text_lengths):
        return tokens
    is_video = tokens.kind != TEXT
    kept = is_video.nonzero()[:, 0]
    segments = []
    for segment, count in zip(tokens.segments, tokens.text_lengths, strict=True):
        mask = None if segment.mask is None else segment.mask[count:, count:]
        all_see_all = mask is None or bool(mask.all())
        segments.append(Segment(segment.length - count, None if all_see_all else mask))
    return replace(
        tokens,
        order=torch.arange(len(kept), device=kept.device),
        kind=tokens.kind[kept],
        coordinates=tokens.coordinates[kept],
        row=tokens.row[kept],
        segments=tuple(segments),
        wanted=(is_video.cumsum(0) - 1)[tokens.wanted],
        grid=tokens.grid[kept],
        of_source=tokens.of_source[kept],
    )


def visibility(
    lengths: Sequence[int], blocks: Sequence[int], clean: Sequence[bool], copies: Sequence[int]
) -> Tensor | None:
    """Which token sees which, from stretches of tokens of one sample.

    Args:
        lengths: Tokens of each stretch; the first is the text (clean, before all blocks).
        blocks: Place of each stretch in the order of generation.
        clean: Whether it is context.
        copies: Which copy of its block it is, among the noisy ones.

    Returns:
        ``(L, L)`` bool, rows see columns; None if all see all.
    """
    block, is_clean, copy = torch.tensor(blocks), torch.tensor(clean), torch.tensor(copies)
    earlier = is_clean[None] & (block[None] < block[:, None])
    same = (block[None] == block[:, None]) & (is_clean[None] == is_clean[:, None]) & (copy[None] == copy[:, None])
    counts = torch.tensor(lengths)
    mask = (earlier | same).repeat_interleave(counts, 0).repeat_interleave(counts, 1)
    return None if bool(mask.all()) else mask


def patchify(latents: Tensor, patch_size: tuple[int, int, int]) -> Tensor:
    """``(C, T, H, W)`` to ``(T, S, P)``: S patches of every frame, row by row.

    Raises:
        ValueError: If a side is no multiple of the patch.
    """
    _, rows, columns = patch_size
    if latents.shape[2] % rows or latents.shape[3] % columns:
        raise ValueError(f"latents {tuple(latents.shape)} do not divide into patches of {rows}x{columns}")
    return rearrange(latents, "c t (h p) (w q) -> t (h w) (p q c)", p=rows, q=columns)


def unpatchify(patches: Tensor, size: tuple[int, int], patch_size: tuple[int, int, int]) -> Tensor:
    """``(T, S, P)`` to ``(C, T, H, W)``; ``size`` is (H, W)."""
    _, rows, columns = patch_size
    return rearrange(patches, "t (h w) (p q c) -> c t (h p) (w q)", h=size[0] // rows, p=rows, q=columns)


def _coordinates(piece: Piece, patch_size: tuple[int, int, int], pixels_per_latent: tuple[int, int]) -> Tensor:
    """``(T S, 3)``: seconds, and the middle of each patch from the middle of the frame."""
    rows, columns = piece.latents.shape[2] // patch_size[1], piece.latents.shape[3] // patch_size[2]
    units = [p * n / PIXELS_PER_UNIT for p, n in zip(patch_size[1:], pixels_per_latent, strict=True)]
    plane = _plane(rows, columns, units[0], units[1])  # (S, 2)
    seconds = piece.seconds.float()[:, None, None].expand(-1, len(plane), 1)  # (T, S, 1)
    return torch.cat([seconds, plane.expand(len(seconds), -1, -1)], -1).flatten(0, 1)


@lru_cache(maxsize=64)
def _plane(rows: int, columns: int, row_unit: float, column_unit: float) -> Tensor:
    """``(S, 2)`` rows and columns of patches from the middle; few sizes are asked for again and again."""
    y = (torch.arange(rows) - (rows - 1) / 2) * row_unit
    x = (torch.arange(columns) - (columns - 1) / 2) * column_unit
    return torch.stack([y.repeat_interleave(columns), x.repeat(rows)], -1)


@lru_cache(maxsize=64)
def _grid(rows: int, columns: int) -> Tensor:
    """``(S, 4)`` row, column, rows and columns of each patch of a frame."""
    row, column = torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)
    return torch.stack([row, column, torch.full_like(row, rows), torch.full_like(row, columns)], -1)
