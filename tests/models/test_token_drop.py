"""Tokens that are dropped: against the whole sequence in which nobody sees them, and shares against their mean."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.models.layers.segment import Segment
from soracli.models.token_drop import draw_drop_rate, draw_kept, drop_tokens, num_kept
from soracli.models.tokens import Sample, pack_tokens
from tests.models.tiny import piece, tiny_dit, tiny_text

PATCH, PIXELS = (1, 2, 2), (8, 8)


def samples() -> list[Sample]:
    return [
        Sample(
            torch.tensor([1, 2]), (piece(1, 1, True), piece(2, 2, True, start=1), piece(2, 2, False, start=1, t=0.6))
        ),
        Sample(torch.tensor([3]), (piece(1, 2, False, t=0.3, seed=1),)),
        Sample(torch.tensor([4, 5, 6]), (piece(2, 1, False, t=0.8, size=(2, 4), seed=2),)),
    ]


@pytest.mark.parametrize("rate", [0.0, 0.4, 0.9])
def test_what_stays_is_as_if_nobody_saw_the_others(rate):
    generator = torch.Generator().manual_seed(0)
    packed = pack_tokens(samples(), PATCH, PIXELS)
    kept = [draw_kept(sample, PATCH, rate, generator) for sample in samples()]
    dropped = drop_tokens(packed, kept)
    masks = []
    for segment, part in zip(packed.segments, kept, strict=True):
        seen = torch.ones(segment.length, segment.length).bool() if segment.mask is None else segment.mask
        masks.append(Segment(segment.length, seen & part | torch.eye(segment.length, dtype=torch.bool)))
    whole = replace(packed, segments=tuple(masks))
    dit, text = tiny_dit().double(), tiny_text().double()
    found = dit(dropped, text(dropped.text, dropped.text_lengths))[0]
    stays = torch.cat(kept)
    expected = dit(whole, text(whole.text, whole.text_lengths))[0][stays[packed.wanted]]
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    assert len(dropped.order) == int(stays.sum()) and (rate == 0) == bool(stays.all())
    assert sorted(dropped.order.tolist()) == list(range(len(dropped.order)))


def test_only_noisy_tokens_go_and_one_stays():
    generator = torch.Generator().manual_seed(0)
    (first, second, third), parts = [draw_kept(sample, PATCH, 0.5, generator) for sample in samples()], samples()
    assert first[: 2 + 6 + 12].all() and int(first[20:].sum()) == 6
    assert second[:1].all() and int(second[1:].sum()) == 3
    assert third[:3].all() and int(third[3:].sum()) == 2
    assert int(draw_kept(parts[1], PATCH, 0.999, generator)[1:].sum()) == 1
    other = draw_kept(parts[0], PATCH, 0.5, generator)
    assert not torch.equal(first, other)


@given(count=st.integers(0, 1000), rate=st.floats(0, 0.9))
def test_how_many_stay(count, rate):
    kept = num_kept(count, rate)
    assert min(count, 1) <= kept <= count and kept - 1 < (1 - rate) * count + 1e-9 and kept >= (1 - rate) * count - 1e-9


@pytest.mark.parametrize("mean", [0.1, 0.5, 0.8])
def test_rates_are_drawn_around_their_mean(mean):
    generator = torch.Generator().manual_seed(0)
    rates = torch.tensor([draw_drop_rate(mean, generator) for _ in range(3000)])
    assert bool(((rates >= 0) & (rates <= 0.9)).all())
    assert float(rates.mean()) == pytest.approx(mean, abs=0.02)
    share = mean / 0.9
    assert float((rates / 0.9).var()) == pytest.approx(0.3 * share * (1 - share), rel=0.1)


def test_no_drop_draws_nothing():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert draw_drop_rate(0.0, generator) == 0 and torch.equal(generator.get_state(), before)
