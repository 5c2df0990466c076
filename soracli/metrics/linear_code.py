"""The best linear code of a given size: what a video VAE of equal compression must beat.

Principal components of patches, one patch per latent position. As with a causal VAE the first frame stands alone: its
patches (h x w pixels) have components of their own; each later group of t frames gives patches of t x h x w pixels.
Both give the same number of numbers per latent position. No linear code of non-overlapping patches has a smaller mean
squared error on the clips it was fitted on (Eckart and Young 1936).

Axes: B videos, T frames, H rows, W columns, C channels of the code, D numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

_ROUNDS = 16
"""Rounds of subspace iteration; with twice the wanted directions carried along, the rest shrinks below rounding."""


@dataclass(frozen=True)
class PatchBasis:
    """Components of one kind of patch.

    Attributes:
        mean: ``(D,)`` mean patch.
        directions: ``(C, D)`` orthonormal rows, most variance first; rows of zeros if C is above D.
    """

    mean: Tensor
    directions: Tensor


@dataclass(frozen=True)
class LinearCode:
    """A fitted code.

    Attributes:
        compression: Frames, rows and columns of pixels per latent position.
        first: Components of patches of the first frame.
        later: Components of patches of later groups of frames.
    """

    compression: tuple[int, int, int]
    first: PatchBasis
    later: PatchBasis

    def encode(self, frames: Tensor) -> Tensor:
        """``(B, 3, T, H, W)``, T = 1 + k t, to ``(B, C, 1 + k, H / h, W / w)``."""
        parts = [
            (patches - basis.mean) @ basis.directions.T
            for patches, basis in zip(_patches(frames, self.compression), (self.first, self.later), strict=True)
        ]
        return rearrange(torch.cat(parts, 1), "b t h w c -> b c t h w")

    def decode(self, latents: Tensor) -> Tensor:
        """``(B, C, T', H', W')`` to ``(B, 3, 1 + (T' - 1) t, H, W)``, about [-1, 1]."""
        t, h, w = self.compression
        codes = rearrange(latents, "b c t h w -> b t h w c")
        first = codes[:, :1] @ self.first.directions + self.first.mean
        later = codes[:, 1:] @ self.later.directions + self.later.mean
        return torch.cat(
            [
                rearrange(first, "b g y x (c p q) -> b c g (y p) (x q)", p=h, q=w),
                rearrange(later, "b g y x (c f p q) -> b c (g f) (y p) (x q)", f=t, p=h, q=w),
            ],
            2,
        )


def fit_linear_code(clips: Iterable[Tensor], compression: tuple[int, int, int], channels: int) -> LinearCode:
    """Fit the code to clips.

    Args:
        clips: Videos ``(3, T, H, W)`` in [-1, 1], T = 1 + k t, H and W multiples of h and w; all are held in memory
            as patches. Where all are single frames, later groups of frames have no components and decode to grey.
        compression: (t, h, w) of one latent position.
        channels: C, numbers per latent position.

    Raises:
        ValueError: If there are no clips, or one does not fit the compression.
    """
    firsts, laters = [], []
    for clip in clips:
        first, later = _patches(clip[None].float(), compression)
        firsts.append(first.flatten(0, 3))
        laters.append(later.flatten(0, 3))
    if not firsts:
        raise ValueError("a linear code needs at least one clip")
    return LinearCode(
        compression=compression,
        first=_fit_basis(torch.cat(firsts), channels),
        later=_fit_basis(torch.cat(laters), channels),
    )


def _patches(frames: Tensor, compression: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Patches ``(B, 1, H', W', 3 h w)`` of the first frame and ``(B, k, H', W', 3 t h w)`` of the others."""
    t, h, w = compression
    if (frames.shape[2] - 1) % t or frames.shape[3] % h or frames.shape[4] % w:
        raise ValueError(f"frames {tuple(frames.shape)} do not fit a causal compression of {compression}")
    first = rearrange(frames[:, :, :1], "b c g (y p) (x q) -> b g y x (c p q)", p=h, q=w)
    later = rearrange(frames[:, :, 1:], "b c (g f) (y p) (x q) -> b g y x (c f p q)", f=t, p=h, q=w)
    return first, later


def _fit_basis(patches: Tensor, channels: int) -> PatchBasis:
    """Leading principal components of ``(N, D)`` by subspace iteration (Halko, Martinsson and Tropp 2011, 4.4)."""
    if not len(patches):
        return PatchBasis(
            mean=patches.new_zeros(patches.shape[1]), directions=patches.new_zeros(channels, patches.shape[1])
        )
    mean = patches.mean(0)
    centred = patches - mean
    width = patches.shape[1]
    wanted = min(channels, width)
    carried = min(width, 2 * wanted + 16)
    start = torch.randn(width, carried, generator=torch.Generator().manual_seed(0)).to(patches)
    space = torch.linalg.qr(start).Q
    for _ in range(_ROUNDS if carried < width else 0):
        space = torch.linalg.qr(centred.T @ (centred @ space)).Q
    inside = (centred @ space).double()
    turn = torch.linalg.eigh(inside.T @ inside).eigenvectors.flip(1)[:, :wanted]  # eigh sorts upwards
    directions = patches.new_zeros(channels, width)
    directions[:wanted] = (space.double() @ turn).T.to(patches)
    return PatchBasis(mean=mean, directions=directions)
