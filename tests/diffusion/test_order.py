"""Orders of generation: every latent frame exactly once, in blocks of the sizes asked for, whatever is drawn."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.diffusion.config import OrderConfig
from soracli.diffusion.order import draw_order, forward_order

KINDS = ("forward", "animate", "backward", "between", "scattered")
sizes = st.integers(1, 6)


def only(kind: str, first_block: int = 3, block: int = 2) -> OrderConfig:
    return OrderConfig(first_block=first_block, block=block, **{name: float(name == kind) for name in KINDS})


def drawn(count: int, begins: bool, config: OrderConfig, seed: int = 0):
    return draw_order(count, begins, config, torch.Generator().manual_seed(seed))


@settings(max_examples=300)
@given(
    count=st.integers(1, 20),
    begins=st.booleans(),
    first_block=sizes,
    block=sizes,
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32),
)
def test_every_frame_exactly_once(count, begins, first_block, block, kind, seed):
    order = drawn(count, begins, only(kind, first_block, block), seed)
    everything = [*order.given, *(frame for part in order.blocks for frame in part)]
    assert sorted(everything) == list(range(count))
    assert list(order.given) == sorted(order.given)
    assert order.blocks and all(list(part) == sorted(part) != [] for part in order.blocks)
    if not begins and count > 1:
        assert order.given  # a stretch from the middle never has to be made without a past
    for number, part in enumerate(order.blocks):
        first = number == 0 and not order.given
        last = number == len(order.blocks) - 1
        assert len(part) == (first_block if first else block) or (
            last and len(part) < (first_block if first else block)
        )
    if kind in ("forward", "animate", "between"):
        assert [frame for part in order.blocks for frame in part] == sorted(set(range(count)) - set(order.given))


@given(count=st.integers(1, 30), first_block=sizes, block=sizes, given_frames=st.integers(0, 29))
def test_forward(count, first_block, block, given_frames):
    given_frames = min(given_frames, count - 1)
    order = forward_order(count, first_block, block, given_frames)
    assert order.given == tuple(range(given_frames))
    assert [frame for part in order.blocks for frame in part] == list(range(given_frames, count))


def test_text_to_video():
    assert forward_order(12, 5, 4).blocks == ((0, 1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11))
    assert forward_order(12, 5, 4).given == ()
    assert forward_order(3, 5, 4).blocks == ((0, 1, 2),)
    assert forward_order(9, 5, 4, given=2).blocks == ((2, 3, 4, 5), (6, 7, 8))


def test_what_each_kind_is_given():
    for seed in range(30):
        assert drawn(9, True, only("forward"), seed).given == ()
        assert drawn(9, True, only("animate"), seed).given == (0,)
        backward = drawn(9, True, only("backward"), seed)
        assert backward.given == tuple(range(9 - len(backward.given), 9))
        assert backward.blocks[0][-1] == backward.given[0] - 1 and backward.blocks[-1][0] == 0
        between = drawn(9, True, only("between"), seed)
        assert between.given[0] == 0 and between.given[-1] == 8
        assert 2 <= len(between.given) <= 4
        middle = drawn(9, False, only("forward"), seed)
        assert middle.given == tuple(range(len(middle.given))) and 1 <= len(middle.given) <= 2
    scattered = {drawn(9, True, only("scattered"), seed).given for seed in range(30)}
    assert len(scattered) > 20 and {len(given) for given in scattered} >= {1, 4, 8}


def test_kinds_are_drawn_as_often_as_their_weights_say():
    config = OrderConfig(forward=0.0, animate=3.0, backward=1.0, between=0.0, scattered=0.0)
    generator = torch.Generator().manual_seed(0)
    found = Counter(draw_order(9, True, config, generator).given == (0,) for _ in range(1000))
    assert found[True] / 1000 == pytest.approx(0.75, abs=0.04)


def test_the_same_generator_draws_the_same():
    assert [drawn(9, True, OrderConfig(), seed) for seed in range(9)] == [
        drawn(9, True, OrderConfig(), seed) for seed in range(9)
    ]


@given(
    count=st.integers(2, 20),
    tail=st.integers(1, 5),
    kind=st.sampled_from(KINDS),
    block=sizes,
    seed=st.integers(0, 2**32),
)
def test_a_tail_is_given_and_the_rest_runs_into_it(count, tail, kind, block, seed):
    tail = min(tail, count - 1)
    order = draw_order(count, True, only(kind, 3, block), torch.Generator().manual_seed(seed), tail=tail)
    made = [frame for part in order.blocks for frame in part]
    assert sorted([*order.given, *made]) == list(range(count))
    assert set(range(count - tail, count)) <= set(order.given)
    assert all(len(part) <= block and list(part) == sorted(part) != [] for part in order.blocks)
    left = sorted(set(order.given) - set(range(count - tail, count)))
    assert left == list(range(len(left))) and len(left) <= block
    if kind == "backward" or count - tail == 1:
        assert left == []
    if kind == "between" and count - tail > 1:
        assert left
    if left:  # towards the end
        assert made == sorted(made)
    else:  # from the end towards the beginning
        assert [part[-1] for part in order.blocks] == sorted((part[-1] for part in order.blocks), reverse=True)
        assert order.blocks[0][-1] == count - tail - 1
