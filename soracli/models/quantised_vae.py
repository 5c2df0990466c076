"""The quantised twin of the video VAE: frames to tokens and back, for models that predict tokens.

Axes: B batch, D dimensions of a code, T' latent frames, H' and W' latent rows and columns. Encoder and decoder are
those of ``VideoVAE`` under the same names, so either kind can begin from the weights of the other: the encoder's mean
is rounded to codes, its log variance is not used. Rounding acts per position, so the twin streams as the VAE does.
Source: MAGViT-v2 (Yu et al. 2023, arXiv:2310.05737), with its LFQ or with FSQ (see ``quantisers``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from soracli.core.errors import ArtifactError, DataError, NumericsError
from soracli.models.config import QuantisedVAEConfig, VAEConfig
from soracli.models.layers.causal import Cache, SpaceConv
from soracli.models.quantisers import codes_from_indices, fsq_codes, indices_from_codes, lfq_codes
from soracli.models.video_vae import VideoVAE


class CodeProjection(nn.Module):
    """From channels of the VAE to dimensions of a code and back, position by position.

    The names make them what they are to an optimiser: the head of the encoder and the stem of the decoder.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.head = SpaceConv(channels, dimensions, kernel=1)
        self.stem = SpaceConv(dimensions, channels, kernel=1)


class QuantisedVAE(VideoVAE):
    """A video VAE whose latents are codes: ``(B, D, T', H', W')``, each dimension one of a few numbers in [-1, 1]."""

    config: QuantisedVAEConfig

    def __init__(self, config: QuantisedVAEConfig) -> None:
        super().__init__(config)
        self.levels = config.quantiser.code_levels
        differ = config.latent_channels != len(self.levels)
        self.projection = CodeProjection(config.latent_channels, len(self.levels)) if differ else None

    @property
    def num_channels(self) -> int:
        """Dimensions of a code, D."""
        return len(self.levels)

    @property
    def num_codes(self) -> int:
        """Codes that there are; tokens are 0 to one less."""
        return math.prod(self.levels)

    def encode_values(self, frames: Tensor, cache: Cache = ()) -> tuple[Tensor, Cache]:
        """What is to be rounded: ``(B, D, T', H', W')``, any real numbers; arguments as of ``encode``."""
        mean, _, cache = super().encode(frames, cache)
        return mean if self.projection is None else _at_positions(self.projection.head, mean), cache

    def quantise(self, values: Tensor) -> Tensor:
        """Codes of ``(B, D, T', H', W')``, in the same type but computed in float32 at least; see ``quantisers``."""
        wide = values.to(torch.promote_types(values.dtype, torch.float32)).movedim(1, -1)
        codes = lfq_codes(wide) if self.config.quantiser.kind == "lfq" else fsq_codes(wide, self.levels)
        return codes.movedim(-1, 1).to(values)

    def encode(self, frames: Tensor, cache: Cache = ()) -> tuple[Tensor, Tensor, Cache]:
        """Encode a video or its next chunk; arguments as of ``VideoVAE.encode``.

        Returns:
            Codes ``(B, D, T', H', W')``; their log variance, which is minus infinity: a code is certain; the cache.
        """
        values, cache = self.encode_values(frames, cache)
        codes = self.quantise(values)
        return codes, torch.full_like(codes, -math.inf), cache

    def decode(self, latents: Tensor, cache: Cache = ()) -> tuple[Tensor, Cache]:
        """Decode codes or their next chunk; as ``VideoVAE.decode``. What lies between codes is decoded as it is."""
        features = latents if self.projection is None else _at_positions(self.projection.stem, latents)
        return super().decode(features, cache)

    def encode_indices(self, frames: Tensor, cache: Cache = ()) -> tuple[Tensor, Cache]:
        """Tokens of a video or of its next chunk; arguments as of ``encode``.

        Returns:
            int64 ``(B, T', H', W')`` from 0 to ``num_codes - 1``, and the cache for the next chunk.

        Raises:
            NumericsError: If the encoder gives NaN, which has no code.
        """
        codes, _, cache = self.encode(frames, cache)
        return self.indices_from_codes(codes), cache

    def decode_indices(self, indices: Tensor, cache: Cache = ()) -> tuple[Tensor, Cache]:
        """Frames of tokens int64 ``(B, T', H', W')`` or of their next chunk; the rest as of ``decode``.

        Raises:
            DataError: If a token is none of this VAE's.
        """
        return self.decode(self.codes_from_indices(indices), cache)

    def indices_from_codes(self, codes: Tensor) -> Tensor:
        """Tokens of codes, or of latents near them: ``(B, D, T', H', W')`` to int64 ``(B, T', H', W')``.

        Raises:
            NumericsError: If a code is NaN.
        """
        if bool(codes.isnan().any()):
            raise NumericsError("the VAE encodes to NaN, which is no token; its weights or its input are unusable")
        return indices_from_codes(codes.movedim(1, -1), self.levels)

    def codes_from_indices(self, indices: Tensor) -> Tensor:
        """Codes of tokens, in the type of the weights: int64 ``(B, T', H', W')`` to ``(B, D, T', H', W')``.

        Raises:
            DataError: If a token is none of this VAE's.
        """
        wrong = indices[(indices < 0) | (indices >= self.num_codes)]
        if len(wrong):
            raise DataError(f"token {int(wrong[0])} is none of this VAE's: they are 0 to {self.num_codes - 1}")
        dtype = next(self.parameters()).dtype
        return codes_from_indices(indices, self.levels, dtype).movedim(-1, 1)


def build_vae(config: VAEConfig) -> VideoVAE:
    """The VAE of a configuration, continuous or quantised; both draw the same first weights from the same seed."""
    return QuantisedVAE(config) if isinstance(config, QuantisedVAEConfig) else VideoVAE(config)


def start_from(vae: VideoVAE, source: VideoVAE) -> None:
    """Give ``vae`` the encoder and decoder of another, either of which may be quantised; other weights stay.

    Raises:
        ArtifactError: If their encoders and decoders are built differently.
    """
    try:
        vae.encoder.load_state_dict(source.encoder.state_dict())
        vae.decoder.load_state_dict(source.decoder.state_dict())
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise ArtifactError(f"the VAE to begin from is built differently: {problem}") from error
    if isinstance(vae, QuantisedVAE) and isinstance(source, QuantisedVAE) and vae.levels == source.levels:
        vae.load_state_dict(source.state_dict())


def freeze_encoder(vae: VideoVAE) -> None:
    """Train all but what makes latents."""
    vae.encoder.requires_grad_(False)
    if isinstance(vae, QuantisedVAE) and vae.projection is not None:
        vae.projection.head.requires_grad_(False)


def _at_positions(layer: SpaceConv, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution to ``(B, C, T', H', W')``."""
    out: Tensor = layer(x.movedim(1, -1))
    return out.movedim(-1, 1)
