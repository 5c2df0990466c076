"""Packed against each sample alone, over random packings of images and videos: velocities, loss and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.data.latent_samples import LatentSample
from soracli.diffusion.config import FlowConfig, OrderConfig
from soracli.models.token_drop import draw_kept, drop_tokens
from soracli.models.tokens import pack_tokens, patchify
from soracli.pipelines.dit_batch import loss_weights
from soracli.pipelines.dit_step import DiTWithText
from soracli.pipelines.noising import noised_sample
from tests.models.tiny import TEXT, tiny_dit, tiny_text

PATCH, PIXELS = (1, 2, 2), (8, 8)
ORDER = OrderConfig(first_block=2, block=2, forward=1, animate=1, backward=1, between=1, scattered=1)
kinds = st.tuples(
    st.sampled_from([1, 1, 2, 3, 5]),
    st.sampled_from([(2, 2), (4, 4), (2, 8), (6, 4)]),
    st.booleans(),
    st.integers(1, 4),
)
"""Latent frames, their size, whether the video begins here, tokens of text."""


def drawn(kind, copies, rate, seed):
    """A sample as training makes it, its targets, and which of its tokens stay."""
    (frames, size, begins, num_text), generator = kind, torch.Generator().manual_seed(seed)
    shown = LatentSample(
        latents=torch.randn(4, frames, *size, generator=generator),
        seconds=0.25 * torch.arange(frames),
        one_frame=torch.arange(frames) == (0 if begins else -1),
        begins=begins,
        caption="",
    )
    text = torch.randint(TEXT.vocabulary_size, (num_text,), generator=generator)
    sample, targets = noised_sample(shown, text, FlowConfig(copies=copies), ORDER, generator)
    wanted = torch.cat([patchify(target, PATCH).flatten(0, 1) for target in targets])
    return sample, wanted, draw_kept(sample, PATCH, rate, generator)


def learnt(model, parts):
    """Velocities, sums of the weighted errors and of the weights, and gradients of their quotient's numerator."""
    tokens = pack_tokens([sample for sample, _, _ in parts], PATCH, PIXELS)
    stays = torch.cat([kept for _, _, kept in parts])[tokens.wanted]
    targets = torch.cat([wanted for _, wanted, _ in parts])[stays]
    tokens = drop_tokens(tokens, [kept for _, _, kept in parts])
    velocities = model(tokens)
    error = (velocities - targets).square().mean(-1)
    weights = {equal: loss_weights(tokens, equal).to(error) for equal in ("token", "sample")}
    sums = {equal: (weight * error).sum() for equal, weight in weights.items()}
    return velocities, sums, {equal: weight.sum() for equal, weight in weights.items()}


def near(found, expected, share, what):
    assert bool((found - expected).abs().max() <= share * expected.abs().max()), what


@pytest.mark.parametrize(("dtype", "share"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@settings(max_examples=20, deadline=None)
@given(
    packed=st.lists(kinds, min_size=2, max_size=6),
    copies=st.integers(1, 2),
    rate=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 10**6),
)
def test_packed_is_alone(dtype, share, packed, copies, rate, seed):
    model = DiTWithText(tiny_dit(), tiny_text()).to(dtype)
    parts = [drawn(kind, copies, rate, seed + number) for number, kind in enumerate(packed)]
    velocities, sums, totals = learnt(model, parts)
    alone = [learnt(model, [part]) for part in parts]
    near(velocities, torch.cat([one[0] for one in alone]), share, "velocities")
    for equal in ("token", "sample"):
        expected_total = torch.stack([one[2][equal] for one in alone]).sum()
        near(totals[equal], expected_total, share, "weights")
        if equal == "sample":
            assert float(expected_total) == pytest.approx(len(parts))
        loss = sums[equal] / totals[equal]
        expected = torch.stack([one[1][equal] for one in alone]).sum() / expected_total
        near(loss, expected, share, f"loss by {equal}")
        names, parameters = zip(*model.named_parameters(), strict=True)
        for name, one, other in zip(
            names,
            torch.autograd.grad(loss, parameters, retain_graph=True),
            torch.autograd.grad(expected, parameters, retain_graph=True),
            strict=True,
        ):
            near(one, other, share, name)
