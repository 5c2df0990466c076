"""Captions word by word, the likeliest ones or drawn ones, with what is known kept as keys and values.

Axes: B clips, T frames, S side, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from soracli.models.captioner import MARK, Captioner


@dataclass(frozen=True)
class Written:
    """One caption.

    Attributes:
        tokens: Its words, without marks.
        confidence: Geometric mean of the probabilities that the model gave to what it wrote, the end among it, in
            (0, 1]; at any temperature those of temperature 1.
        ended: Whether it came to its end, before the most tokens were written.
    """

    tokens: tuple[int, ...]
    confidence: float
    ended: bool


@torch.no_grad()
def write_captions(
    captioner: Captioner,
    seen: Tensor,
    *,
    temperature: float = 0.0,
    generators: Sequence[Generator] | None = None,
    max_tokens: int | None = None,
) -> list[Written]:
    """Write a caption of each clip.

    Args:
        captioner: The model.
        seen: ``(B, M, D)`` of ``Captioner.see``.
        temperature: 0 takes the likeliest token every time; 1 draws as the model says.
        generators: One for each clip, on the CPU, so that no clip's caption depends on those beside it; needed with a
            temperature.
        max_tokens: Longest caption; the model's by default, and at most.

    Raises:
        ValueError: If a temperature is given without generators.
    """
    if temperature > 0 and (generators is None or len(generators) != len(seen)):
        raise ValueError(f"a temperature needs a generator for each of {len(seen)} clips")
    # Of the model's places one is the first mark's.
    most = min(max_tokens or captioner.config.max_tokens, captioner.config.max_tokens - 1)
    looked = captioner.look(seen)
    token = torch.full((len(seen), 1), MARK, device=seen.device)
    past = None
    rows: list[list[int]] = [[] for _ in range(len(seen))]
    sums = torch.zeros(len(seen), dtype=torch.float64)
    counts = torch.zeros(len(seen), dtype=torch.int64)
    is_open = torch.ones(len(seen), dtype=torch.bool)
    for _ in range(most):
        told = captioner.tell(token, looked, past)
        past = told.past
        chances = told.logits[:, -1].float().log_softmax(-1).cpu()  # (B, V)
        chosen = _choose(chances, temperature, generators)  # (B,)
        said = chances.gather(1, chosen[:, None])[:, 0].double()  # (B,)
        sums += torch.where(is_open, said, 0.0)
        counts += is_open
        is_open = is_open & (chosen != MARK)
        for row in is_open.nonzero()[:, 0].tolist():
            rows[row].append(int(chosen[row]))
        if not is_open.any():
            break
        token = chosen[:, None].to(seen.device)
    means = (sums / counts.clamp(min=1)).exp().tolist()
    return [Written(tuple(row), means[number], not bool(is_open[number])) for number, row in enumerate(rows)]


def _choose(chances: Tensor, temperature: float, generators: Sequence[Generator] | None) -> Tensor:
    if temperature == 0 or generators is None:
        return chances.argmax(-1)  # (B,)
    heated = (chances / temperature).softmax(-1).cumsum(-1)  # (B, V)
    drawn = torch.stack([torch.rand(1, generator=generator) for generator in generators])  # (B, 1)
    return torch.searchsorted(heated, drawn * heated[:, -1:]).clamp(max=chances.shape[1] - 1)[:, 0]  # (B,)
