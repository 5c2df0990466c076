"""Attention inside windows of a packed sequence: W.A.L.T's alternating spatial and spatiotemporal windows.

Axes: L tokens of all segments, M of a segment's past, W windows of one size, l tokens of one, n others that all of
them see, N heads, K width of a head.

Two kinds of layers take turns. In a **spatial** one a token sees its own latent frame: of the same piece, so a noisy
frame sees no clean one. In a **spatiotemporal** one a frame is divided into tiles of at most ``window_size`` rows and
columns, and a token sees its tile in all latent frames that it may see in the order of generation: the segment's mask
holds inside a window as it does outside, and of a past it sees the sink's and the window's frames, same tile. So a
frame meets the source it is an edit of in these layers, where it stands at the same place, and not in spatial ones.
Joint text is seen by all in both kinds, and sees text. So nothing crosses a tile's edge but in spatial layers, nothing
crosses time but in spatiotemporal ones, and spatial layers leave nothing behind for a past but the text.
Source: W.A.L.T (Gupta et al. 2023, arXiv:2312.06662, section 3.3). Differs from the source: spatiotemporal windows
reach over all frames, not over a clip of fixed length; images attend inside their tiles there instead of passing
through; tiles of a frame that ``window_size`` does not divide are nearly equal; rotary positions instead of learned
ones with a relative bias; every layer sees the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from soracli.models.layers.attention import Keys
from soracli.models.layers.rearrange import rearranged
from soracli.models.layers.segment import Segment
from soracli.models.layers.written_attention import attend


@dataclass(frozen=True)
class Windows:
    """Windows of one segment that have the same sizes.

    Attributes:
        segment: Number of the segment.
        own: ``(W, l)`` places in the packed sequence of tokens that attend together.
        others: ``(W, n)`` places of further tokens of the sequence that they see.
        past: ``(W, m)`` places in the segment's past that they see.
        mask: ``(W, l, l)`` bool, which of a window's own tokens each of them sees; None: all.
    """

    segment: int
    own: Tensor
    others: Tensor
    past: Tensor
    mask: Tensor | None

    @property
    def pairs(self) -> int:
        """Queries times keys."""
        return self.own.numel() * (self.own.shape[1] + self.others.shape[1] + self.past.shape[1])


def tiles_of(grid: Tensor, window_size: tuple[int, int]) -> Tensor:
    """Number ``(L,)`` of the tile of its frame that each token stands in; -1 for text.

    Args:
        grid: ``(L, 4)`` row, column, rows, columns; rows 0 is text.
        window_size: Rows and columns of a tile at most.
    """
    row, column, rows, columns = grid.unbind(1)
    down, across = -(-rows // window_size[0]), -(-columns // window_size[1])
    tile = row * down // rows.clamp(min=1) * across + column * across // columns.clamp(min=1)
    return torch.where(rows > 0, tile, -1)


def windows_of(
    numbers: Tensor, segments: Sequence[Segment], past_numbers: Sequence[Tensor] | None = None
) -> list[Windows]:
    """Divide a packed sequence into windows.

    Args:
        numbers: ``(L,)`` which window of its segment each token is in; -1 is text, which all windows see.
        segments: Of the sequence.
        past_numbers: ``(M,)`` the same of each segment's past.

    Returns:
        Every token is in exactly one window; on the device of ``numbers``.
    """
    found = []
    start = 0
    for index, segment in enumerate(segments):
        own = numbers[start : start + segment.length]  # (L',)
        before = past_numbers[index] if past_numbers is not None else own[:0]  # (M,)
        text = (own == -1).nonzero()[:, 0]  # (n,)
        alike: dict[tuple[bool, int, int], list[tuple[Tensor, Tensor]]] = {}
        for number in own.unique().tolist():
            places = (own == number).nonzero()[:, 0]  # (l,)
            past = ((before == -1) | (before == number)).nonzero()[:, 0]  # (m,)
            alike.setdefault((number == -1, len(places), len(past)), []).append((places, past))
        for (is_text, *_), windows in alike.items():
            places = torch.stack([part for part, _ in windows])  # (W, l)
            mask = None if segment.mask is None else segment.mask[places[:, :, None], places[:, None]]  # (W, l, l)
            found.append(
                Windows(
                    segment=index,
                    own=places + start,
                    others=((text[:0] if is_text else text) + start).expand(len(places), -1),
                    past=torch.stack([part for _, part in windows]),
                    mask=None if mask is None or bool(mask.all()) else mask,
                )
            )
        start += segment.length
    return found


@torch.compiler.disable
def attend_windows(
    query: Tensor, key: Tensor, value: Tensor, windows: Sequence[Windows], past: Sequence[Keys] | None
) -> Tensor:
    """Attention inside each window, ``(L, N, K)`` three times to ``(L, N K)``; ``past`` by segment, keys rotated."""
    there = torch.cat([part.own.flatten() for part in windows])  # (L,)
    back = torch.empty_like(there)
    back[there] = torch.arange(len(there), device=there.device)
    heads = query.shape[1]
    packed = torch.cat([query, key, value], 1).flatten(1)  # (L, 3 D)
    outputs = []
    for part, rows in zip(
        windows, rearranged(packed, there, back).split([part.own.numel() for part in windows]), strict=True
    ):
        q, k, v = rows.view(*part.own.shape, 3, heads, -1).unbind(2)  # 3 (W, l, N, K)
        seen = part.others.shape[1] + part.past.shape[1]
        if part.others.shape[1]:
            index = part.others[0]  # the same for all windows
            k = torch.cat([key.index_select(0, index).expand(len(k), -1, -1, -1), k], 1)  # (W, n + l, N, K)
            v = torch.cat([value.index_select(0, index).expand(len(v), -1, -1, -1), v], 1)
        if past is not None and part.past.shape[1]:
            k = torch.cat([past[part.segment].key[part.past], k], 1)  # (W, m + n + l, N, K)
            v = torch.cat([past[part.segment].value[part.past], v], 1)
        mask = None if part.mask is None else functional.pad(part.mask, (seen, 0), value=True)[:, None]
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # 3 (W, N, l, K)
        outputs.append(attend(q, k, v, mask).transpose(1, 2).flatten(2).flatten(0, 1))  # (W l, D)
    return rearranged(torch.cat(outputs), back, there)  # (L, D)
