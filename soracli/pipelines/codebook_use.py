"""How a quantised VAE uses its codebook, measured on clips: a part of ``sora vae eval``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from soracli.core.errors import DataError
from soracli.metrics.codebook import CodebookUse, codebook_use, count_tokens, empty_counts
from soracli.models.codec import to_frames
from soracli.models.layers.causal import Cache
from soracli.models.quantised_vae import QuantisedVAE
from soracli.models.video_codec import VideoCodec

_BLOCK_LATENTS = 4
"""Latent frames that are encoded at once."""


def codebook_report(vae: VideoCodec, clips: Iterable[Tensor]) -> CodebookUse | None:
    """Count the tokens of clips, in memory that depends on neither their length nor their number.

    Args:
        vae: On any device.
        clips: uint8 frames ``(T, H, W, 3)``; frames at the end that do not fill a latent are left out.

    Returns:
        What was counted, or None for a continuous VAE, which has no tokens (then no clip is read).

    Raises:
        DataError: If there are no clips.
        NumericsError: If the encoder gives NaN.
    """
    if not isinstance(vae, QuantisedVAE):
        return None
    counts = empty_counts(vae.levels)
    for clip in clips:
        for indices in _token_blocks(vae, clip):
            count_tokens(counts, indices.cpu())
    if not int(counts.sum()):
        raise DataError("no clips to count tokens of: name some with --clips or --world")
    return codebook_use(counts, vae.levels)


@torch.inference_mode()
def _token_blocks(vae: QuantisedVAE, clip: Tensor) -> Iterator[Tensor]:
    step = vae.config.compression[0]
    weight = next(vae.parameters())
    usable = len(clip) - (len(clip) - 1) % step
    cache: Cache = ()
    start = 0
    while start < usable:
        stop = min(usable, start + _BLOCK_LATENTS * step - (0 if cache else step - 1))
        indices, cache = vae.encode_indices(to_frames(clip[start:stop]).to(weight), cache)
        yield indices
        start = stop
