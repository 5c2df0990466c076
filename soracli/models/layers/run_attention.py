"""Attention of a packed sequence on a CPU: dense products of what is seen, and of nothing else.

Axes: L tokens of all segments, N heads, K width of a head, D = N K; B runs of a group, r queries and c keys of a run.

A *run* is a stretch of tokens that see the same tokens: a text, a clean block, one noisy copy of a block. Its queries
and the keys that they see are put side by side, so attention is a dense product without a mask, and runs of similar
size are one product. A training of three blocks in four noisy copies computes a sixth of the scores that its masks
span. Each key is read once for every run that sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from soracli.models.layers.kept import kept_for_last
from soracli.models.layers.rearrange import rearranged
from soracli.models.layers.segment import Segment
from soracli.models.layers.written_attention import attend

_MOST_SCORES = 1 << 20
"""Scores of one head that are computed together, about: more no longer fits a cache."""


@dataclass(frozen=True)
class Run:
    """Tokens that see the same tokens.

    Attributes:
        rows: ``(r,)`` their places in the sequence.
        columns: ``(c,)`` the places of what they see.
    """

    rows: Tensor
    columns: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """R and c."""
        return len(self.rows), len(self.columns)


@dataclass(frozen=True)
class RunPlan:
    """How to attend in a sequence: made once for all layers.

    Attributes:
        sizes: (B, r, c) of each group.
        masks: Of each group ``(B, 1, 1, c)`` bool, which keys are there; None: all.
        rows: ``(M,)`` the places of all groups' queries, L where there is none.
        row_of: ``(L,)`` where each token is among them.
        columns: ``(M',)`` the places of all groups' keys, L where there is none.
        uses: ``(U,)`` where each token is among those, token after token.
        first_use: ``(L,)`` where each token's begin.
    """

    sizes: tuple[tuple[int, int, int], ...]
    masks: tuple[Tensor | None, ...]
    rows: Tensor
    row_of: Tensor
    columns: Tensor
    uses: Tensor
    first_use: Tensor


def attend_runs(query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment]) -> Tensor:
    """Attention inside each segment, ``(L, N, K)`` three times to ``(L, N K)``.

    Args:
        query: ``(L, N, K)``.
        key: The same.
        value: The same.
        segments: Where each sample is; lengths add up to L. The same object finds the same plan at no cost.
    """
    plan = plan_runs(segments)
    heads, width = query.shape[1:]
    queries = rearranged(query.flatten(1), plan.rows, plan.row_of)  # (M, D)
    pairs = repeated(torch.cat([key, value], 1).flatten(1), plan.columns, plan.uses, plan.first_use)  # (M', 2 D)
    outputs = []
    for (count, r, c), mask, own, seen in zip(
        plan.sizes,
        plan.masks,
        queries.split([count * r for count, r, _ in plan.sizes]),
        pairs.split([count * c for count, _, c in plan.sizes]),
        strict=True,
    ):
        q = own.view(count, r, heads, width).transpose(1, 2)  # (B, N, r, K)
        k, v = seen.view(count, c, 2, heads, width).permute(2, 0, 3, 1, 4)  # 2 (B, N, c, K)
        outputs.append(attend(q, k, v, mask).transpose(1, 2).flatten(2).flatten(0, 1))  # (B r, D)
    return rearranged(torch.cat(outputs), plan.row_of, plan.rows)  # (L, D)


@kept_for_last
def plan_runs(segments: Sequence[Segment]) -> RunPlan:
    """Runs of all segments, in groups of similar size."""
    runs = list(find_runs(segments))
    total = sum(segment.length for segment in segments)
    sizes, masks, rows, columns = [], [], [], []
    for group in similar_sizes([run.size for run in runs]):
        r, c = (max(sizes) for sizes in zip(*(runs[number].size for number in group), strict=True))
        own, seen = torch.full((len(group), r), total), torch.full((len(group), c), total)
        for place, number in enumerate(group):
            own[place, : len(runs[number].rows)] = runs[number].rows
            seen[place, : len(runs[number].columns)] = runs[number].columns
        is_there = seen < total
        sizes.append((len(group), r, c))
        masks.append(None if bool(is_there.all()) else is_there[:, None, None])
        rows.append(own.flatten())
        columns.append(seen.flatten())
    all_rows, all_columns = torch.cat(rows), torch.cat(columns)
    # Stable, so that sums are always taken in one order; what is filled up comes last and is left out.
    row_of = all_rows.argsort(stable=True)[:total]
    counts = all_columns.bincount(minlength=total)[:total]
    uses = all_columns.argsort(stable=True)[: int(counts.sum())]
    first_use = counts.cumsum(0) - counts
    return RunPlan(tuple(sizes), tuple(masks), all_rows, row_of, all_columns, uses, first_use)


def find_runs(segments: Sequence[Segment]) -> Iterator[Run]:
    """The runs of each segment, from its first token to its last."""
    starts = accumulate((segment.length for segment in segments), initial=0)
    for segment, start in zip(segments, starts, strict=False):
        place = torch.arange(start, start + segment.length)
        if segment.mask is None:
            yield Run(place, place)
            continue
        mask = segment.mask
        begins = torch.ones(segment.length, dtype=torch.bool)
        begins[1:] = (mask[1:] != mask[:-1]).any(1)
        first = begins.nonzero()[:, 0].tolist()
        for low, high in zip(first, [*first[1:], segment.length], strict=True):
            yield Run(place[low:high], place[mask[low]])


def similar_sizes(sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Numbers of runs in groups, largest first: in none is a side under three quarters of the group's longest."""
    groups: list[list[int]] = []
    low, high = (0, 0), (0, 0)
    for number in sorted(range(len(sizes)), key=lambda number: sizes[number], reverse=True):
        r, c = sizes[number]
        with_it = (min(low[0], r), min(low[1], c)), (max(high[0], r), max(high[1], c))
        is_similar = all(4 * least >= 3 * most for least, most in zip(*with_it, strict=True))
        if groups and is_similar and len(groups[-1]) * with_it[1][0] * with_it[1][1] < _MOST_SCORES:
            groups[-1].append(number)
            low, high = with_it
        else:
            groups.append([number])
            low = high = (r, c)
    return groups


def repeated(x: Tensor, there: Tensor, uses: Tensor, first_use: Tensor) -> Tensor:
    """Rows of ``x``, each as often as it is used, with a backward that adds up rows by reading them.

    torch's own backward of an indexed read takes the rows one at a time.

    Args:
        x: ``(L, D)``.
        there: ``(M,)`` which row of ``x`` each row of the result is; L is a row of zeros.
        uses: ``(U,)`` where each row of ``x`` is in the result, row after row.
        first_use: ``(L,)`` where each row's begin.

    Returns:
        ``(M, D)``.
    """
    result: Tensor = _Repeat.apply(x, there, uses, first_use)
    return result


class _Repeat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, uses: Tensor, first_use: Tensor) -> Tensor:
        ctx.save_for_backward(uses, first_use)
        return torch.cat([x, x.new_zeros(1, x.shape[1])]).index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        uses, first_use = ctx.saved_tensors
        return embedding_bag(uses, gradients[0], first_use, mode="sum"), None, None, None
