"""The video VAEs of ``diffusers`` behind ``VideoCodec``: Wan, CogVideoX, and those that take a video whole.

Given a whole video each does exactly what ``diffusers``' own ``encode`` and ``decode`` do. Given chunks, Wan and
CogVideoX go on from what their own causal convolutions remember: the modules' ``feat_cache`` and ``conv_cache``, which
``diffusers`` itself passes from call to call. LTX (its decoder looks ahead) and HunyuanVideo (it blends overlapping
stretches, and its attention sees all frames of one) have no such thing.

Axes: B batch, C channels, T frames, H rows, W columns; primes are latents.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from soracli.core.errors import UsageError
from soracli.models.video_codec import State

_LOG_VARIANCE = (-30.0, 20.0)
"""As ``diffusers``' DiagonalGaussianDistribution clamps it."""
_NOISE_SEED = 0


class WanCodec(nn.Module):
    """``AutoencoderKLWan``, of Wan 2.1 and 2.2 (Wan team 2025, arXiv:2503.20314).

    It computes one latent frame at a time, so chunks give what the whole gives, but for the last bits of a
    convolution over single positions.
    """

    streams = True

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def encode(self, frames: Tensor, cache: State = ()) -> tuple[Tensor, Tensor, State]:
        """As ``VideoCodec.encode``."""
        step, patch = self.module.config.scale_factor_temporal, self.module.config.patch_size
        if patch is not None:
            frames = rearrange(frames, "b c t (h p) (w q) -> b (c q p) t h w", p=patch, q=patch)
        alone = 0 if cache else 1
        sizes = [1] * alone + [step] * ((frames.shape[2] - alone) // step)
        slots = _slots(self.module.encoder, cache)
        parts = [self.module.encoder(group, feat_cache=slots, feat_idx=[0]) for group in frames.split(sizes, 2)]
        mean, log_variance = _halves(self.module.quant_conv(torch.cat(parts, 2)))
        return mean, log_variance, tuple(slots)

    def decode(self, latents: Tensor, cache: State = ()) -> tuple[Tensor, State]:
        """As ``VideoCodec.decode``; frames are inside [-1, 1]."""
        slots = _slots(self.module.decoder, cache)
        parts = []
        for number, latent in enumerate(self.module.post_quant_conv(latents).split(1, 2)):
            starts = not cache and number == 0
            parts.append(self.module.decoder(latent, feat_cache=slots, feat_idx=[0], first_chunk=starts))
        frames, patch = torch.cat(parts, 2), self.module.config.patch_size
        if patch is not None:
            frames = rearrange(frames, "b (c q p) t h w -> b c t (h p) (w q)", p=patch, q=patch)
        return frames.clamp(-1, 1), tuple(slots)


class CogVideoXCodec(nn.Module):
    """``AutoencoderKLCogVideoX`` (Yang et al. 2024, arXiv:2408.06072).

    Its group norms average over all frames of a call, so another cut gives somewhat other numbers; at its own cuts (8
    frames, 2 latents) chunks give what the whole gives.

    Differs from the source: ``diffusers`` decodes an even number of latents to 4 frames each, the first too; here the
    first is always one frame, and a latent left over is decoded beside a copy of itself until its neighbour comes.
    """

    streams = True

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def encode(self, frames: Tensor, cache: State = ()) -> tuple[Tensor, Tensor, State]:
        """As ``VideoCodec.encode``."""
        past = cache[0] if cache else None
        parts = []
        for part in _own_cuts(frames, self.module.num_sample_frames_batch_size):
            moments, past = self.module.encoder(part, conv_cache=past)
            parts.append(moments if self.module.quant_conv is None else self.module.quant_conv(moments))
        return *_halves(torch.cat(parts, 2)), (past,)

    def decode(self, latents: Tensor, cache: State = ()) -> tuple[Tensor, State]:
        """As ``VideoCodec.decode``."""
        past, waiting = cache or (None, None)
        if waiting is not None:
            latents = torch.cat([waiting, latents], 2)
        # The module takes an odd number of latents for the start of a video, an even one for its middle.
        is_left_over = latents.shape[2] % 2 == (0 if past is None else 1)
        known = latents.shape[2] - is_left_over
        parts = []
        for part in _own_cuts(latents[:, :, :known], self.module.num_latent_frames_batch_size) if known else ():
            frames, past = self._decode_part(part, past)
            parts.append(frames)
        last = latents[:, :, known:]
        if is_left_over:
            parts.append(self._decode_part(last.repeat(1, 1, 2, 1, 1), past)[0].chunk(2, 2)[0])
        frames = torch.cat(parts, 2)
        shown = 0 if waiting is None else self.module.config.temporal_compression_ratio
        return frames[:, :, shown:], (past, last.clone() if is_left_over else None)

    def _decode_part(self, latents: Tensor, past: Any) -> tuple[Tensor, Any]:
        if self.module.post_quant_conv is not None:
            latents = self.module.post_quant_conv(latents)
        frames, past = self.module.decoder(latents, conv_cache=past)
        return frames, past


class WholeVideoCodec(nn.Module):
    """``AutoencoderKLLTXVideo`` and ``AutoencoderKLHunyuanVideo``: a video in one call, memory grows with its length.

    Source: HaCohen et al. 2024, arXiv:2501.00103; Kong et al. 2024, arXiv:2412.03603. Decoders of LTX
    that are told a noise level are told 0, the pipelines' default, for no noise is added; those that add noise inside
    draw it from a fixed seed, so that equal latents give equal frames.
    """

    streams = False

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def encode(self, frames: Tensor, cache: State = ()) -> tuple[Tensor, Tensor, State]:
        """As ``VideoCodec.encode``, of a whole video.

        Raises:
            UsageError: If a second chunk is given.
        """
        self._refuse_chunks(cache)
        posterior = self.module.encode(frames).latent_dist
        return posterior.mean, posterior.logvar, ("ended",)

    def decode(self, latents: Tensor, cache: State = ()) -> tuple[Tensor, State]:
        """As ``VideoCodec.decode``, of a whole video.

        Raises:
            UsageError: If a second chunk is given.
        """
        self._refuse_chunks(cache)
        noise_level = (
            {"temb": latents.new_zeros(len(latents))} if self.module.config.get("timestep_conditioning") else {}
        )
        with torch.random.fork_rng([latents.device] if latents.is_cuda else []):
            torch.manual_seed(_NOISE_SEED)
            frames = self.module.decode(latents, **noise_level).sample
        return frames, ("ended",)

    def _refuse_chunks(self, cache: State) -> None:
        if cache:
            name = type(self.module).__name__
            raise UsageError(f"{name} takes a video whole, not in chunks: give it all frames or latents at once")


def _slots(part: nn.Module, cache: State) -> list[Any]:
    """Wan's ``feat_cache`` to go on from; an empty one has a place for each module, more than its convolutions use."""
    return list(cache) or [None] * sum(1 for _ in part.modules())


def _own_cuts(video: Tensor, size: int) -> tuple[Tensor, ...]:
    """Cut as CogVideoX does, along T: pieces of ``size``, the first longer by what is left."""
    num_frames = video.shape[2]
    first = size + num_frames % size if num_frames >= size else num_frames
    return video.split([first] + [size] * ((num_frames - first) // size), 2)


def _halves(moments: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = moments.chunk(2, 1)
    return mean, log_variance.clamp(*_LOG_VARIANCE)
