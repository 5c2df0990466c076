"""Distances between two sets of features: Fréchet, and the kernel distance that small sets allow.

Features are ``(N, D)``, one row a sample. A Fréchet distance depends on N: give with it the floor, the distance between
two disjoint sets of real samples of the same N. With N not far above D use fewer dimensions (``project``) or the kernel
distance, whose mean does not depend on N.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Squared Fréchet distance between the Gaussians with the sets' means and covariances, in float64.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``. Source: Dowson and Landau 1982; used on network features by Heusel
    et al. 2017, arXiv:1706.08500, equation 6.

    Args:
        features: ``(N, D)``, N at least 2.
        reference: ``(M, D)``, M at least 2.

    Raises:
        ValueError: If the sets have other widths or fewer than two rows.
    """
    _check(features, reference)
    mean_a, covariance_a = _moments(features)
    mean_b, covariance_b = _moments(reference)
    return gaussian_frechet_distance(mean_a, covariance_a, mean_b, covariance_b)


def gaussian_frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Squared Fréchet distance between two Gaussians.

    Args:
        mean_a: ``(D,)``.
        covariance_a: ``(D, D)``, symmetric, no negative eigenvalues but for rounding.
        mean_b: ``(D,)``.
        covariance_b: ``(D, D)``.
    """
    a, b = covariance_a.double(), covariance_b.double()
    # The product S1 S2 has the eigenvalues of the symmetric matrix S1^(1/2) S2 S1^(1/2): no complex roots arise.
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    between = (mean_a.double() - mean_b.double()).square().sum()
    return float((between + a.trace() + b.trace() - 2 * cross).clamp(min=0))


def frechet_floor(reference: Tensor, num_samples: int, seed: int = 0) -> float:
    """Fréchet distance between two disjoint random sets of real samples: what a perfect model would score.

    Args:
        reference: ``(M, D)``, M at least ``2 * num_samples``.
        num_samples: Size of each set; take the number of generated samples.
        seed: Which sets.

    Raises:
        ValueError: If there are too few real samples.
    """
    if len(reference) < 2 * num_samples:
        raise ValueError(f"a floor for {num_samples} samples needs {2 * num_samples} real ones, got {len(reference)}")
    order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(seed)).to(reference.device)
    return frechet_distance(reference[order[:num_samples]], reference[order[num_samples : 2 * num_samples]])


def interleaved_distance(features: Tensor, reference: Tensor) -> float:
    """Fréchet distance between copies and originals that are never the same samples.

    The even rows of the one against the odd rows of the other, and the other way round; the mean of both. With the
    reference itself for ``features`` it is the floor: what perfect copies would score, at the same number of samples.
    With neighbouring frames of videos as rows both halves show the same things, so the floor is low.

    Args:
        features: ``(N, D)`` of the copies, N at least 4.
        reference: ``(N, D)`` of the originals, in the same order.

    Raises:
        ValueError: If there are fewer rows, or other numbers of them.
    """
    if len(features) != len(reference):
        raise ValueError(f"need as many copies as originals, got {len(features)} and {len(reference)}")
    first = frechet_distance(features[0::2], reference[1::2])
    return (first + frechet_distance(features[1::2], reference[0::2])) / 2


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel ``(x . y / D + 1)^3``; may be slightly negative.

    Source: Bińkowski et al. 2018, arXiv:1801.01401, "KID".

    Args:
        features: ``(N, D)``, N at least 2.
        reference: ``(M, D)``, M at least 2.

    Raises:
        ValueError: If the sets have other widths or fewer than two rows.
    """
    _check(features, reference)
    x, y = features.double(), reference.double()
    width, n, m = x.shape[1], len(x), len(y)
    within_x, within_y, across = ((a @ b.T / width + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    mean_x = (within_x.sum() - within_x.trace()) / (n * (n - 1))
    mean_y = (within_y.sum() - within_y.trace()) / (m * (m - 1))
    return float(mean_x + mean_y - 2 * across.mean())


def project(reference: Tensor, *others: Tensor, dimensions: int = 64) -> tuple[Tensor, ...]:
    """All sets in the reference's leading principal components, so that covariances of small sets are usable.

    Args:
        reference: ``(M, D)``; its mean becomes the origin.
        others: ``(N, D)`` each.
        dimensions: Components kept; all if D or M - 1 is smaller.

    Returns:
        The reference and the others, ``(., dimensions)`` float64.
    """
    centre = reference.double().mean(0)
    axes = torch.linalg.svd(reference.double() - centre, full_matrices=False).Vh
    axes = axes[: min(dimensions, len(reference) - 1)]
    return tuple((features.double() - centre) @ axes.T for features in (reference, *others))


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    mean = features.double().mean(0)
    centred = features.double() - mean
    return mean, centred.T @ centred / (len(features) - 1)


def _check(features: Tensor, reference: Tensor) -> None:
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1]:
        raise ValueError(f"need features (N, D) and (M, D), got {tuple(features.shape)} and {tuple(reference.shape)}")
    if min(len(features), len(reference)) < 2:
        raise ValueError("a distance between sets needs at least two samples in each")
