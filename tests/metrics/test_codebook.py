"""Use of a codebook against counting with a dictionary; counts in pieces are counts of the whole."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.metrics.codebook import codebook_use, count_tokens, empty_counts

LEVELS = (4, 3, 5)
tokens_lists = st.lists(st.integers(0, 59), min_size=1, max_size=80)


def counted(tokens, levels=LEVELS):
    counts = empty_counts(levels)
    count_tokens(counts, torch.tensor(tokens))
    return counts


@given(tokens=tokens_lists)
def test_figures_are_those_of_a_dictionary(tokens):
    use, by_hand = codebook_use(counted(tokens), LEVELS), Counter(tokens)
    assert (use.num_codes, use.num_tokens, use.num_used) == (60, len(tokens), len(by_hand))
    assert use.num_dead == 60 - len(by_hand) and use.used_share == pytest.approx(len(by_hand) / 60)
    assert use.reachable_share == pytest.approx(len(by_hand) / min(60, len(tokens)))
    entropy = -sum(count / len(tokens) * math.log(count / len(tokens)) for count in by_hand.values())
    assert use.perplexity == pytest.approx(math.exp(entropy)) and use.entropy_bits == pytest.approx(
        entropy / math.log(2), abs=1e-9
    )
    digits = [(token % 4, token // 4 % 3, token // 12) for token in tokens]
    for place, count in enumerate(LEVELS):
        found = Counter(digit[place] for digit in digits)
        assert use.level_shares[place] == pytest.approx([found[level] / len(tokens) for level in range(count)])
    assert use.dead_levels == sum(LEVELS) - sum(len({digit[place] for digit in digits}) for place in range(3))


@given(tokens=tokens_lists, cuts=st.lists(st.integers(0, 80), max_size=5))
def test_pieces_count_as_the_whole(tokens, cuts):
    counts = empty_counts(LEVELS)
    for piece in torch.tensor(tokens).tensor_split(sorted(min(cut, len(tokens)) for cut in cuts)):
        count_tokens(counts, piece.view(1, -1, 1))
    assert torch.equal(counts, counted(tokens))


def test_ends():
    once = codebook_use(counted(range(60)), LEVELS)
    assert once.perplexity == pytest.approx(60) and once.num_dead == once.dead_levels == 0
    assert once.level_shares[1] == pytest.approx((1 / 3,) * 3)
    one = codebook_use(counted([7] * 9), LEVELS)
    assert one.perplexity == pytest.approx(1) and one.num_dead == 59 and one.dead_levels == 3 + 2 + 4
    assert one.reachable_share == pytest.approx(1 / 9)


def test_many_bits_are_counted_in_little_memory():
    levels = (2,) * 18
    counts = empty_counts(levels)
    assert counts.nbytes == 2 * 2**20
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        count_tokens(counts, torch.randint(2**18, (2, 4, 50, 50), generator=generator))
    use = codebook_use(counts, levels)
    assert use.num_tokens == 80_000 and use.num_used < 80_000
    # Of N draws from K codes K (1 - exp(-N / K)) differ, to within chance.
    assert use.num_used == pytest.approx(2**18 * (1 - math.exp(-80_000 / 2**18)), rel=0.01)
    assert all(share == pytest.approx((0.5, 0.5), abs=0.02) for share in use.level_shares)


def test_what_does_not_fit_is_refused():
    for wrong in (-1, 60):
        with pytest.raises(ValueError, match="do not fit a codebook of 60"):
            count_tokens(empty_counts(LEVELS), torch.tensor([3, wrong]))
    with pytest.raises(ValueError, match="no tokens"):
        codebook_use(empty_counts(LEVELS), LEVELS)
