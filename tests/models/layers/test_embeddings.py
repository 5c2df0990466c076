"""Numbers as vectors: near numbers near, far ones apart, sinusoids against their formula."""

import math

import torch

from soracli.models.layers.embeddings import NumberEmbedding


def test_sinusoids_are_those_of_the_formula():
    embedding = NumberEmbedding(8)
    seen = []
    embedding.embed_in.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    embedding(torch.tensor([0.0, 0.3]))
    for number, waves in zip((0.0, 0.3), seen[0], strict=True):
        for index in (0, 1, 64, 127):
            angle = 1000 * number * 10_000 ** (-index / 128)
            assert math.isclose(waves[index], math.cos(angle), abs_tol=1e-4)
            assert math.isclose(waves[128 + index], math.sin(angle), abs_tol=1e-4)


def test_noise_levels_can_be_told_apart():
    embedding = NumberEmbedding(32).requires_grad_(False)
    embedded = embedding(torch.linspace(0, 1, 21))
    assert embedded.shape == (21, 32)
    nearest = (torch.cdist(embedded, embedded) + 10 * torch.eye(21)).min()
    close = embedding(torch.tensor([0.5, 0.5001]))
    assert float(nearest) > 10 * float((close[0] - close[1]).norm()) > 0
