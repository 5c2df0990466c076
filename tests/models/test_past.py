"""A past of keys and values against one sequence that holds everything; what is kept, forgotten and moved."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.models.dit import Past
from soracli.models.layers.attention import Keys
from soracli.models.past import Memory, moved, remember, shifted, window_start
from soracli.models.tokens import Piece, Sample, pack_tokens
from tests.models.tiny import piece, tiny_dit, tiny_text

PATCH, PIXELS = (1, 2, 2), (8, 8)
NOTHING = torch.zeros(0, dtype=torch.long)


def pins(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.bool)


def later(part: Piece, seconds: float) -> Piece:
    return Piece(part.latents, part.seconds + seconds, part.one_frame, part.t, part.block, part.clean)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_block_after_block_is_all_at_once(dtype, shift):
    """Two prompts side by side, three blocks; ``shift``: the window begins there, and only the text is where it was."""
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-4}[dtype]  # angles are float32 always
    dit, encode = tiny_dit().to(dtype), tiny_text().to(dtype)
    texts = [torch.tensor([1, 2, 3]), torch.tensor([0])]
    first = piece(2, 1, True)
    second, wanted = piece(2, 2, True, start=2, t=0.1), piece(3, 3, False, start=4, t=0.7)

    at_once = [Sample(text, tuple(later(part, -shift) for part in (first, second, wanted))) for text in texts]
    packed = pack_tokens(at_once, PATCH, PIXELS)
    expected = dit(packed, encode(packed.text, packed.text_lengths))[0]

    packed = pack_tokens([Sample(text, ()) for text in texts], PATCH, PIXELS)
    _, past = dit(packed, encode(packed.text, packed.text_lengths))
    memory = Memory(past, packed.text_lengths, 6, torch.zeros(0), pins(0))
    no_states = torch.zeros(0, 16, dtype=dtype)
    for part in (first, second):
        packed = pack_tokens([Sample(NOTHING, (later(part, -shift),))] * 2, PATCH, PIXELS)
        _, made = dit(packed, no_states, dit.look_at(moved_past(memory, shift)))
        memory = remember(memory, moved(made, shift), part.seconds, pins(len(part.seconds)), 100)
    assert [len(place) for place in memory.past.coordinates] == [3 + 24, 1 + 24]
    packed = pack_tokens([Sample(NOTHING, (later(wanted, -shift),))] * 2, PATCH, PIXELS)
    found = dit(packed, no_states, dit.look_at(moved_past(memory, shift)))[0]
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def moved_past(memory: Memory, start: float) -> Past:
    """As ``shifted``, without its floor at 0."""
    places = []
    for place, text in zip(memory.past.coordinates, memory.text_tokens, strict=True):
        other = place.clone()
        other[text:, 0] -= start
        places.append(other)
    return Past(memory.past.keys, tuple(places))


def frames_as_memory(seconds: torch.Tensor, text: int, frame_tokens: int) -> Past:
    """A past whose keys say which second, or which token of text, they are."""
    marks = seconds.repeat_interleave(frame_tokens)
    coordinates = torch.zeros(text + len(marks), 3)
    coordinates[text:, 0] = marks
    keys = torch.cat([-1 - torch.arange(text), marks]).view(-1, 1, 1)
    return Past(((Keys(keys, keys),),), (coordinates,))


@given(
    blocks=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    sink=st.integers(0, 3),
    window=st.integers(1, 6),
    text=st.integers(0, 3),
)
def test_sink_and_window_are_kept(blocks, sink, window, text):
    memory = Memory(frames_as_memory(torch.zeros(0), text, 2), (text,), 2, torch.zeros(0), pins(0))
    count = 0
    for size in blocks:
        seconds = torch.arange(count, count + size).float()
        memory = remember(memory, frames_as_memory(seconds, 0, 2), seconds, seconds < sink, window)
        count += size
    kept = [frame for frame in range(count) if frame < sink or frame >= count - window]
    assert memory.seconds.tolist() == kept
    marks = [-1 - number for number in range(text)] + [frame for frame in kept for _ in range(2)]
    assert memory.past.keys[0][0].key.flatten().tolist() == marks
    assert memory.past.keys[0][0].value.flatten().tolist() == marks
    assert memory.past.coordinates[0][text:, 0].tolist() == marks[text:]


def memory_of(seconds: list[float], pinned: list[bool]) -> Memory:
    return Memory(frames_as_memory(torch.tensor(seconds), 2, 1), (2,), 1, torch.tensor(seconds), torch.tensor(pinned))


def test_times_count_from_where_the_window_begins():
    memory = memory_of([4.0, 5.0, 6.0], [False] * 3)
    start = window_start(memory, torch.tensor([7.0, 8.0]))
    assert start == 4
    assert shifted(memory, start, 8.0, 99.0).coordinates[0][:, 0].tolist() == [0, 0, 0, 1, 2]
    assert memory.past.coordinates[0][:, 0].tolist() == [0, 0, 4, 5, 6]  # unchanged
    back = moved(shifted(memory, start, 8.0, 99.0), start)
    assert back.coordinates[0][2:, 0].tolist() == [4, 5, 6]
    empty = Memory(frames_as_memory(torch.zeros(0), 2, 1), (2,), 1, torch.zeros(0), pins(0))
    assert window_start(empty, torch.tensor([3.0, 4.0])) == 3


def test_what_is_pinned_does_not_move_the_window():
    memory = memory_of([0.0, 1.0, 40.0, 41.0], [True, True, False, False])
    start = window_start(memory, torch.tensor([42.0]))
    assert start == 40
    assert shifted(memory, start, 42.0, 9.0).coordinates[0][2:, 0].tolist() == [0, 0, 0, 1]


def test_towards_the_beginning_the_block_comes_first():
    memory = memory_of([8.0, 9.0, 10.0], [False, False, True])
    start = window_start(memory, torch.tensor([6.0, 7.0]))
    assert start == 6
    assert shifted(memory, start, 7.0, 99.0).coordinates[0][2:, 0].tolist() == [2, 3, 4]


@pytest.mark.parametrize(("reach", "places"), [(99.0, [50, 51]), (9.0, [8, 9]), (2.0, [3, 4])])
def test_an_end_far_ahead_comes_nearer_as_a_whole(reach, places):
    """Up to what was trained, and never into the block, which ends 3 seconds after the window begins."""
    memory = memory_of([60.0, 61.0, 10.0, 11.0], [True, True, False, False])
    moved_to = shifted(memory, 10.0, 13.0, reach).coordinates[0][2:, 0].tolist()
    assert moved_to == [*places, 0, 1]


def test_only_what_is_pinned_comes_nearer():
    """Towards the beginning the window lies ahead, too: it stays beside the block however far the end is."""
    memory = memory_of([40.0, 41.0, 11.0, 12.0], [True, True, False, False])
    assert shifted(memory, 8.0, 10.0, 7.0).coordinates[0][2:, 0].tolist() == [6, 7, 3, 4]
