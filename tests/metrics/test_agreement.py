"""Agreement of pairs: closed forms of orthogonal pairs, strangers and twins."""

import math

import pytest
import torch

from soracli.metrics.agreement import AMONG, agreement


def test_pairs_that_fit_and_those_that_do_not():
    own = agreement(torch.eye(8), torch.eye(8))
    assert (own.own, own.other, own.found, own.among) == (1.0, 0.0, 1.0, 8)
    wrong = agreement(torch.eye(8), torch.eye(8).roll(1, 0))
    assert wrong.own == 0.0 and wrong.found == 0.0 and wrong.other == pytest.approx(1 / 7)


def test_who_finds_all_texts_alike_has_found_none():
    same = torch.nn.functional.normalize(torch.ones(5, 3), dim=-1)
    found = agreement(same, same)
    assert found.own == pytest.approx(1) and found.other == pytest.approx(1) and found.found == 0.0
    twins = torch.eye(4).repeat_interleave(2, 0)
    assert agreement(twins, twins).found == 1.0


def test_chance_is_one_in_the_group():
    generator = torch.Generator().manual_seed(0)
    video, text = torch.nn.functional.normalize(torch.randn(2, 100 * AMONG, 16, generator=generator), dim=-1)
    found = agreement(video, text)
    share = 1 / AMONG
    assert found.among == AMONG and abs(found.found - share) < 4 * math.sqrt(share / (100 * AMONG))
    assert agreement(video, text, seed=1).own == pytest.approx(found.own)


def test_a_pair_alone_and_none():
    one = agreement(torch.eye(2)[:1], torch.eye(2)[:1])
    assert one.own == 1.0 and math.isnan(one.other)
    with pytest.raises(ValueError, match="at least one"):
        agreement(torch.eye(2)[:0], torch.eye(2)[:0])
    with pytest.raises(ValueError, match="as many videos as texts"):
        agreement(torch.eye(2), torch.eye(2)[:1])
