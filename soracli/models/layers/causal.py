"""Layers over video that never look ahead, with the past passed in and handed back.

Axes: B batch, T frames, H rows, W columns, C channels; ``x`` is ``(B, T, H, W, C)``. Space is mixed by 2D convolutions
over stacked frames and time by matrix products of its own, because that is what CPUs and GPUs run fastest; channels
come last, so that neither has to rearrange what it is given. What a layer must remember of earlier frames goes through
a ``Tape``: nothing is hidden in modules.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

Cache = tuple[Tensor, ...]
"""The last frames that each time convolution has seen, in the order they run. Empty before the first frame."""


class Tape:
    """Hands each time convolution its past, in order, and collects what the next chunk will need."""

    def __init__(self, cache: Cache) -> None:
        self._past = iter(cache)
        self._recorded: list[Tensor] = []
        self.is_start = not cache

    def exchange(self, x: Tensor, num_frames: int) -> Tensor:
        """Put the past in front of ``x`` and keep its last frames.

        Args:
            x: ``(B, T, H, W, C)``.
            num_frames: How many frames of past; zeros stand in before the first frame.

        Returns:
            ``(B, num_frames + T, H, W, C)``.
        """
        past = x.new_zeros(x.shape[0], num_frames, *x.shape[2:]) if self.is_start else next(self._past)
        whole = torch.cat([past, x], 1)
        self._recorded.append(whole[:, whole.shape[1] - num_frames :])
        return whole

    @property
    def cache(self) -> Cache:
        """What was collected, to start the next chunk with."""
        # Copies: a view would keep all frames of every layer in memory until the next chunk.
        return tuple(frames.clone() for frames in self._recorded)


class PositionNorm(nn.Module):
    """Root-mean-square norm over channels at each position of each frame (Zhang and Sennrich 2019).

    Nothing is averaged over space or time, so neither the length of a video nor its size changes the result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(..., C)``."""
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)  # (..., 1)
        return x * scale * self.gain  # (..., C)


class Kernel(nn.Module):
    """A 2D convolution whose weights are one matrix, (C', k k C).

    The matrix is the channels-last layout of the kernel, so nothing is copied, and optimisers that work on matrices
    (Muon) take convolutions as they are.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        reach = (in_channels * kernel**2) ** -0.5
        self.weight = nn.Parameter(torch.empty(out_channels, kernel**2 * in_channels).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, H, W, C)`` to ``(N, H / s, W / s, C')``."""
        if self.kernel == self.stride == 1:
            return nn.functional.linear(x, self.weight, self.bias)  # (N, H, W, C')
        weight = self.weight.unflatten(1, (self.kernel, self.kernel, -1)).permute(0, 3, 1, 2)  # (C', C, k, k)
        channels_second = x.permute(0, 3, 1, 2)  # (N, C, H, W), a view
        y = nn.functional.conv2d(channels_second, weight, self.bias, self.stride, self.kernel // 2)
        return y.permute(0, 2, 3, 1)  # (N, H/s, W/s, C')


class SpaceConv(nn.Module):
    """A 2D convolution over every frame: kernel (1, k, k), stride (1, s, s)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = Kernel(in_channels, out_channels, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, H, W, C)`` to ``(B, T, H / s, W / s, C')``."""
        return self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # (B, T, H/s, W/s, C')


class TimeConv(nn.Module):
    """A causal convolution over time: kernel (k, 1, 1), the past in front, as one matrix product a frame of kernel."""

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.kernel = kernel
        self.conv = Kernel(kernel * channels, channels)

    def forward(self, x: Tensor, tape: Tape) -> Tensor:
        """``(B, T, H, W, C)`` to the same shape."""
        batch, num_frames, height, width, channels = x.shape
        whole = tape.exchange(x, self.kernel - 1).flatten(2, 3)  # (B, k - 1 + T, H W, C)
        # Sums in place of one product over k C channels: those would have to be copied together first.
        y = self.conv.bias.expand(batch, num_frames * height * width, -1)  # (B, T H W, C)
        for start, weight in enumerate(self.conv.weight.split(channels, 1)):
            shifted = whole[:, start : start + num_frames].flatten(1, 2)  # (B, T H W, C), a view
            y = torch.baddbmm(y, shifted, weight.t().expand(batch, -1, -1))  # (B, T H W, C)
        return y.unflatten(1, (num_frames, height, width))  # (B, T, H, W, C)


class ResidualBlock(nn.Module):
    """Norm, SiLU and a convolution, twice, around a skip: the first over space, the second over time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.space_norm = PositionNorm(channels)
        self.space = SpaceConv(channels, channels)
        self.time_norm = PositionNorm(channels)
        self.time = TimeConv(channels)
        # The block is the identity at the start: deep stacks train at once.
        nn.init.zeros_(self.time.conv.weight)

    def forward(self, x: Tensor, tape: Tape) -> Tensor:
        """``(B, T, H, W, C)`` to the same shape."""
        h = self.space(nn.functional.silu(self.space_norm(x)))  # (B, T, H, W, C)
        return x + self.time(nn.functional.silu(self.time_norm(h)), tape)  # (B, T, H, W, C)


def fold_time(x: Tensor, stride: int, tape: Tape) -> Tensor:
    """Put every ``stride`` frames into the channels of one; the first frame of a video stands alone, after zeros.

    Args:
        x: ``(B, T, H, W, C)`` with T = 1 + k * stride at the start of a video, k * stride later.
        stride: Frames folded together.
        tape: Tells whether the video starts here.

    Returns:
        ``(B, ceil(T / stride), H, W, stride * C)``.
    """
    if tape.is_start:
        x = torch.cat([x.new_zeros(x.shape[0], stride - 1, *x.shape[2:]), x], 1)
    return rearrange(x, "b (t s) h w c -> b t h w (s c)", s=stride)


def unfold(x: Tensor, side: int, stride: int, tape: Tape) -> Tensor:
    """Channels become squares of positions and frames; the first latent of a video gives one frame only.

    Args:
        x: ``(B, T, H, W, side * side, stride * C)``.
        side: Rows and columns that each position becomes.
        stride: Frames that each position becomes.
        tape: Tells whether the video starts here.

    Returns:
        ``(B, T * stride, side * H, side * W, C)``, less ``stride - 1`` frames at the start of a video.
    """
    frames = rearrange(x, "b t h w (p q) (s c) -> b (t s) (h p) (w q) c", p=side, s=stride)
    return frames[:, stride - 1 :] if tape.is_start else frames
