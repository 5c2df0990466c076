"""From what was drawn to what the DiT sees: an order of generation, noise on each block, clean context, targets."""

from __future__ import annotations

import torch
from torch import Tensor

from soracli.data.latent_samples import LatentSample
from soracli.diffusion.config import FlowConfig, OrderConfig
from soracli.diffusion.objective import noised, prediction_target, training_times
from soracli.diffusion.order import draw_order
from soracli.models.tokens import SOURCE_BLOCK, Piece, Sample


def left_out(draw: float, is_edit: bool, flow: FlowConfig) -> tuple[bool, bool]:
    """Whether a sample sees no text, and whether it sees no source: what guidance compares with.

    Of edits one draw decides both: first those without text alone, then without both, then without a source alone.
    Source: InstructPix2Pix (Brooks et al. 2022, arXiv:2211.09800, section 3.2.1). Differs from the source: what is left
    out is not there, instead of being 0.

    Args:
        draw: Uniform in [0, 1).
        is_edit: Whether it has a source.
        flow: How often.
    """
    if not is_edit:
        return draw < flow.text_dropout, False
    share = flow.edit_dropout
    return draw < 2 * share, share <= draw < 3 * share


def noised_sample(
    drawn: LatentSample, text: Tensor, flow: FlowConfig, order_config: OrderConfig, generator: torch.Generator
) -> tuple[Sample, list[Tensor]]:
    """A training sample with its targets.

    Each block that is made stands in the sequence noisy, in ``flow.copies`` copies with a noise and a level of their
    own; what is given, and every block that later ones look back at, stands there clean (or nearly: see
    ``FlowConfig.context_noise``). A source stands before all of it, without noise: nobody makes errors on it.

    Args:
        drawn: Latents and their times.
        text: ``(n,)`` token numbers.
        flow: How noise is mixed in.
        order_config: Which orders are drawn.
        generator: Decides everything.

    Returns:
        The sample, and what ``flow.objective`` says of each noisy piece ``(C, T, H, W)``, in the order they stand.
    """
    order = draw_order(drawn.latents.shape[1], drawn.begins, order_config, generator, tail=drawn.tail)
    levels = training_times(flow.objective, flow.copies * len(order.blocks), generator, flow.shift)
    levels = levels.view(flow.copies, -1)
    noise = torch.randn(flow.copies, *drawn.latents.shape, generator=generator)
    coin, level = torch.rand(2, generator=generator).tolist()
    context_level = flow.context_noise * level if coin < 0.5 else 0.0
    context_noise = torch.randn(drawn.latents.shape, generator=generator)
    context = noised(flow.objective, drawn.latents, context_noise, torch.tensor(context_level))

    pieces: list[Piece] = []
    if drawn.source is not None:
        pieces.append(_piece(drawn, drawn.source, tuple(range(drawn.source.shape[1])), 0.0, block=SOURCE_BLOCK))
    targets: list[Tensor] = []
    if order.given:
        pieces.append(_piece(drawn, context, order.given, context_level, block=1))
    for number, frames in enumerate(order.blocks):
        block = 2 + number
        if number + 1 < len(order.blocks):
            pieces.append(_piece(drawn, context, frames, context_level, block=block))
        for copy in range(flow.copies):
            t = float(levels[copy, number])
            noisy = noised(flow.objective, drawn.latents, noise[copy], torch.tensor(t))
            pieces.append(_piece(drawn, noisy, frames, t, block=block, copy=copy, clean=False))
            index = list(frames)
            data, own_noise = drawn.latents[:, index], noise[copy][:, index]
            targets.append(prediction_target(flow.objective, data, own_noise, torch.tensor(t)))
    return Sample(text=text, pieces=tuple(pieces)), targets


def _piece(
    drawn: LatentSample,
    latents: Tensor,
    frames: tuple[int, ...],
    t: float,
    *,
    block: int,
    copy: int = 0,
    clean: bool = True,
) -> Piece:
    index = list(frames)
    return Piece(
        latents=latents[:, index],
        seconds=drawn.seconds[index],
        one_frame=drawn.one_frame[index],
        t=torch.full((len(index),), t),
        block=block,
        clean=clean,
        copy=copy,
    )
