"""The causal video VAE: frames to latents and back, whole or chunk by chunk.

Axes: B batch, C channels, T frames, H rows, W columns. The first frame is encoded alone, so an image is a
one-frame video; every later group of ``compression[0]`` frames gives one latent.
Source: MAGViT-v2 (Yu et al. 2023, arXiv:2310.05737), the continuous variant of W.A.L.T (Gupta et al. 2023,
arXiv:2312.06662). Differs from the source: pixels are folded into channels before the first convolution, 3D
convolutions are split into space and time, and norms act per position, all to be fast and to stream exactly.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from soracli.models.config import VAEConfig
from soracli.models.layers.causal import Cache, PositionNorm, ResidualBlock, SpaceConv, Tape, fold_time, unfold
from soracli.models.layers.linear_code import LinearDecoder, LinearEncoder

_LOG_VARIANCE = (-12.0, 4.0)
_LOG_VARIANCE_START = -6.0


class Down(nn.Module):
    """Halve rows and columns by a strided convolution, then fold frames."""

    def __init__(self, in_channels: int, out_channels: int, temporal_stride: int) -> None:
        super().__init__()
        self.temporal_stride = temporal_stride
        self.space = SpaceConv(in_channels, out_channels, stride=2)
        self.time = SpaceConv(temporal_stride * out_channels, out_channels, kernel=1)

    def forward(self, x: Tensor, tape: Tape) -> Tensor:
        """``(B, T, H, W, C)`` to ``(B, T / s, H / 2, W / 2, C')``."""
        x = self.space(x)  # (B, T, H/2, W/2, C')
        return self.time(fold_time(x, self.temporal_stride, tape))  # (B, T/s, H/2, W/2, C')


class Up(nn.Module):
    """Double rows and columns by depth to space, then unfold frames."""

    def __init__(self, in_channels: int, out_channels: int, temporal_stride: int) -> None:
        super().__init__()
        self.temporal_stride = temporal_stride
        self.space = SpaceConv(in_channels, 4 * out_channels)
        self.time = SpaceConv(out_channels, temporal_stride * out_channels, kernel=1)

    def forward(self, x: Tensor, tape: Tape) -> Tensor:
        """``(B, T, H, W, C)`` to ``(B, T s, 2 H, 2 W, C')``."""
        x = self.space(x).unflatten(-1, (4, -1))  # (B, T, H, W, 4, C')
        x = self.time(x.flatten(2, 3)).unflatten(2, x.shape[2:4])  # (B, T, H, W, 4, s C')
        return unfold(x, 2, self.temporal_stride, tape)  # (B, T s, 2H, 2W, C')


class Encoder(nn.Module):
    """Frames to mean and log variance of latents."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        widths = config.widths
        self.stem = SpaceConv(3 * config.patch_size**2, widths[0])
        self.levels = nn.ModuleList(
            nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
            for width, blocks in zip(widths, config.encoder_blocks, strict=True)
        )
        self.downs = nn.ModuleList(
            Down(fine, coarse, stride)
            for fine, coarse, stride in zip(widths[:-1], widths[1:], config.temporal_strides, strict=True)
        )
        self.norm = PositionNorm(widths[-1])
        self.head = SpaceConv(widths[-1], 2 * config.latent_channels)
        self.linear = LinearEncoder(config.latent_channels, config.compression) if config.linear_code else None
        if config.linear_code:
            nn.init.zeros_(self.head.conv.weight)
            # Nearly certain at first: noise as strong as the latents would hide all that the linear code says.
            nn.init.constant_(self.head.conv.bias[config.latent_channels :], _LOG_VARIANCE_START)

    def forward(self, frames: Tensor, tape: Tape) -> tuple[Tensor, Tensor]:
        """``(B, 3, T, H, W)`` in [-1, 1] to mean and log variance ``(B, C, T', H', W')``."""
        p = self.patch_size
        x = rearrange(frames, "b c t (h p) (w q) -> b t h w (p q c)", p=p, q=p)  # (B, T, H/p, W/p, 3pp)
        x = self.stem(x)  # (B, T, H/p, W/p, D)
        for index, level in enumerate(self.levels):
            for block in level:  # type: ignore[attr-defined]
                x = block(x, tape)  # (B, T, H, W, D) of this level
            if index < len(self.downs):
                x = self.downs[index](x, tape)  # (B, T/s, H/2, W/2, D')
        x = self.head(nn.functional.silu(self.norm(x)))  # (B, T', H', W', 2 C)
        mean, log_variance = rearrange(x, "b t h w (two c) -> two b c t h w", two=2)  # 2 (B, C, T', H', W')
        if self.linear is not None:
            mean = mean + rearrange(self.linear(frames, tape), "b t h w c -> b c t h w")  # (B, C, T', H', W')
        return mean, log_variance.clamp(*_LOG_VARIANCE)


class Decoder(nn.Module):
    """Latents to frames."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        widths = config.widths[::-1]
        self.stem = SpaceConv(config.latent_channels, widths[0])
        self.levels = nn.ModuleList(
            nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
            for width, blocks in zip(widths, config.decoder_blocks[::-1], strict=True)
        )
        self.ups = nn.ModuleList(
            Up(coarse, fine, stride)
            for coarse, fine, stride in zip(widths[:-1], widths[1:], config.temporal_strides[::-1], strict=True)
        )
        self.norm = PositionNorm(widths[-1])
        self.head = SpaceConv(widths[-1], 3 * config.patch_size**2)
        self.linear = LinearDecoder(config.latent_channels, config.compression) if config.linear_code else None
        if config.linear_code:
            nn.init.zeros_(self.head.conv.weight)

    def forward(self, latents: Tensor, tape: Tape) -> Tensor:
        """``(B, C, T', H', W')`` to frames ``(B, 3, T, H, W)``, about [-1, 1]."""
        x = rearrange(latents, "b c t h w -> b t h w c")  # (B, T', H', W', C)
        x = self.stem(x)  # (B, T', H', W', D)
        for index, level in enumerate(self.levels):
            for block in level:  # type: ignore[attr-defined]
                x = block(x, tape)  # (B, T, H, W, D) of this level
            if index < len(self.ups):
                x = self.ups[index](x, tape)  # (B, T s, 2H, 2W, D')
        p = self.patch_size
        x = self.head(nn.functional.silu(self.norm(x)))  # (B, T, H/p, W/p, 3pp)
        frames = rearrange(x, "b t h w (p q c) -> b c t (h p) (w q)", p=p, q=p)  # (B, 3, T, H, W)
        return frames if self.linear is None else frames + self.linear(latents, tape)  # (B, 3, T, H, W)


class VideoVAE(nn.Module):
    """Encoder and decoder; latents here are raw, ``LatentSpec`` normalises them."""

    streams = True
    """A video may come chunk by chunk."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @property
    def num_channels(self) -> int:
        """Channels of what ``encode`` gives and ``decode`` takes."""
        return self.config.latent_channels

    def encode(self, frames: Tensor, cache: Cache = ()) -> tuple[Tensor, Tensor, Cache]:
        """Encode a video or its next chunk.

        Args:
            frames: ``(B, 3, T, H, W)`` in [-1, 1]; T = 1 + k * compression[0] at the start, k * compression[0] later.
            cache: What the call before returned; empty at the start of a video.

        Returns:
            Mean and log variance ``(B, C, T', H', W')``, and the cache for the next chunk.
        """
        tape = Tape(cache)
        mean, log_variance = self.encoder(frames, tape)
        return mean, log_variance, tape.cache

    def decode(self, latents: Tensor, cache: Cache = ()) -> tuple[Tensor, Cache]:
        """Decode latents or their next chunk.

        Args:
            latents: ``(B, C, T', H', W')``, raw (not normalised).
            cache: What the call before returned; empty at the start of a video.

        Returns:
            Frames ``(B, 3, T, H, W)``, about [-1, 1], and the cache for the next chunk.
        """
        tape = Tape(cache)
        frames = self.decoder(latents, tape)
        return frames, tape.cache
