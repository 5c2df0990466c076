"""The DiT's options, each and together: packed = alone, cached = one pass, windows = their rule told token by token."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from soracli.models.dit import DiT
from soracli.models.layers.segment import Segment
from soracli.models.layers.windows import Windows, tiles_of
from soracli.models.past import Memory, moved, remember, shifted
from soracli.models.tokens import TEXT, Sample, Tokens, pack_tokens, without_text
from tests.models.tiny import DIT, piece, tiny_dit, tiny_text
from tests.models.tiny import TEXT as TEXT_ENCODER

PATCH, PIXELS = (1, 2, 2), (8, 8)
NO_PINS = torch.zeros(0, dtype=torch.bool)
NOTHING = torch.zeros(0, dtype=torch.long)
OPTIONS = [
    {"text": "cross"},
    {"attention": "windows", "window_size": (1, 2)},
    {"block": "diffit"},
    {"block": "diffit", "modulation_rank": 0},
    {"qk_norm": False, "gelu": "tanh"},
    {"text": "cross", "attention": "windows", "window_size": (2, 1), "block": "diffit", "depth": 3},
]
every_option = pytest.mark.parametrize("changes", OPTIONS, ids=lambda changes: " ".join(map(str, changes.values())))


def samples() -> list[Sample]:
    """Two blocks after what is given, with two noisy copies; an image of another size; a stretch from the middle."""
    return [
        Sample(
            torch.tensor([1, 2, 3]),
            (
                piece(1, 1, True),
                piece(2, 2, True, start=1),
                piece(2, 2, False, start=1, t=0.6),
                piece(2, 3, False, start=3, t=0.9),
            ),
        ),
        Sample(torch.tensor([0]), (piece(1, 2, False, t=0.3, size=(6, 2), seed=1),)),
        Sample(
            torch.tensor([4, 5]),
            (piece(2, 1, True, start=2, t=0.1, seed=2), piece(1, 2, False, start=4, t=0.5, seed=2)),
        ),
    ]


def velocities(dit: DiT, packed: Tokens) -> Tensor:
    states = tiny_text().to(dit.final.weight.dtype)(packed.text, packed.text_lengths)
    return dit(packed, states)[0]


@every_option
def test_it_gives_0_at_the_start(changes):
    dit = DiT(DIT.model_copy(update=changes), 4, TEXT_ENCODER.hidden_size)
    found = velocities(dit, pack_tokens(samples(), PATCH, PIXELS))
    assert found.shape == (24 + 3 + 6, 16) and not found.any()


@every_option
def test_packed_is_alone_and_so_are_gradients(changes):
    dit, parts = tiny_dit(**changes).double(), samples()
    alone, gradients = [], []
    for group in ([0], [1], [2], [2, 0, 1, 1]):
        dit.zero_grad()
        found = velocities(dit, pack_tokens([parts[number] for number in group], PATCH, PIXELS))
        found.square().sum().backward()
        alone.append(found.detach())
        gradients.append([parameter.grad.clone() for parameter in dit.parameters()])
    assert all(bool(found.abs().amin() > 0) for found in alone)
    expected = torch.cat([alone[number] for number in (2, 0, 1, 1)])
    torch.testing.assert_close(alone[3], expected, atol=1e-10, rtol=1e-10)
    for zero, one, two, packed in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, zero + 2 * one + two, atol=1e-9, rtol=1e-9)


@every_option
def test_every_weight_learns(changes):
    both = nn.ModuleDict({"dit": tiny_dit(**changes), "text": tiny_text()})
    packed = pack_tokens(samples(), PATCH, PIXELS)
    both["dit"](packed, both["text"](packed.text, packed.text_lengths))[0].square().sum().backward()
    silent = [name for name, weight in both.named_parameters() if weight.grad is None or not bool(weight.grad.any())]
    assert not silent


@every_option
@settings(max_examples=8, deadline=None)
@given(
    blocks=st.lists(st.integers(1, 2), min_size=1, max_size=4),
    sizes=st.sampled_from([(4, 6), (2, 2), (6, 4)]),
    lengths=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_block_after_block_is_all_at_once(changes, blocks, sizes, lengths):
    """Two prompts side by side; what was made is remembered as in sampling."""
    dit, encode = tiny_dit(**changes).double(), tiny_text().double()
    texts = [torch.arange(length) + 1 for length in lengths]
    pieces, start = [], 0
    for number, count in enumerate(blocks):
        is_last = number + 1 == len(blocks)
        level = {"t": 0.7} if is_last else {"t": 0.1}
        pieces.append(piece(count, 1 + number, not is_last, start=start, size=sizes, **level))
        start += count

    packed = pack_tokens([Sample(text, tuple(pieces)) for text in texts], PATCH, PIXELS)
    expected = dit(packed, encode(packed.text, packed.text_lengths))[0]

    packed = pack_tokens([Sample(text, ()) for text in texts], PATCH, PIXELS)
    _, past = dit(packed, encode(packed.text, packed.text_lengths))
    frame_tokens = sizes[0] * sizes[1] // 4
    memory = Memory(past, tuple(len(place) for place in past.coordinates), frame_tokens, torch.zeros(0), NO_PINS)
    no_states = torch.zeros(0, 16, dtype=torch.float64)
    for part in pieces:
        packed = pack_tokens([Sample(NOTHING, (part,))] * 2, PATCH, PIXELS)
        found, made = dit(packed, no_states, dit.look_at(shifted(memory, 0.0, 99.0, 99.0)))
        memory = remember(memory, moved(made, 0.0), part.seconds, torch.zeros(len(part.seconds), dtype=torch.bool), 100)
    assert found.abs().amin() > 0
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)  # angles are float32 always


@every_option
def test_a_bounded_past_is_bounded(changes):
    """Of a long video as many numbers are kept as of a short one, and of spatial layers the text alone."""
    dit, encode = tiny_dit(**changes), tiny_text()
    packed = pack_tokens([Sample(torch.tensor([1, 2, 3]), ())], PATCH, PIXELS)
    _, past = dit(packed, encode(packed.text, packed.text_lengths))
    memory = Memory(past, tuple(len(place) for place in past.coordinates), 6, torch.zeros(0), NO_PINS)
    text = 0 if dit.config.text == "cross" else 3
    with torch.no_grad():
        for number in range(5):
            part = piece(1, 1, True, start=number)
            packed = pack_tokens([Sample(NOTHING, (part,))], PATCH, PIXELS)
            made = dit(packed, torch.zeros(0, 16), dit.look_at(shifted(memory, 0.0, 99.0, 99.0)))[1]
            memory = remember(memory, made, part.seconds, torch.tensor([number == 0]), 2)
    has_windows = dit.config.attention == "windows"
    kept = [len(layer[0].key) for layer in memory.past.keys]
    assert kept == [text if has_windows and layer % 2 == 0 else text + 18 for layer in range(dit.config.depth)]
    assert len(memory.past.coordinates[0]) == text + 18
    assert [len(tiles) for tiles in memory.past.tiles] == ([text + 18] if has_windows else [])


def plain_mask(packed: Tokens, window_size: tuple[int, int], spatial: bool) -> list[Tensor]:
    """``(l, l)`` of each segment: the order of generation, and the rule of windows told token by token."""
    masks, start = [], 0
    for segment in packed.segments:
        count = segment.length
        mask = torch.ones(count, count, dtype=torch.bool) if segment.mask is None else segment.mask.clone()
        for query in range(count):
            for key in range(count):
                one, other = start + query, start + key
                if packed.kind[one] == TEXT or packed.kind[other] == TEXT:
                    continue
                if spatial:
                    mask[query, key] &= bool(packed.row[one] == packed.row[other])
                    continue
                for axis in (0, 1):
                    size = int(packed.grid[one, 2 + axis])
                    tiles = (size + window_size[axis] - 1) // window_size[axis]
                    tile = [int(packed.grid[place, axis]) * tiles // size for place in (one, other)]
                    mask[query, key] &= tile[0] == tile[1]
        masks.append(mask)
        start += count
    return masks


@pytest.mark.parametrize("window_size", [(1, 1), (1, 2), (2, 2), (8, 8)])
@pytest.mark.parametrize("text", ["joint", "cross"])
def test_windows_are_full_attention_with_a_mask(window_size, text, monkeypatch):
    dit = tiny_dit(attention="windows", window_size=window_size, text=text, depth=3).double()
    packed = pack_tokens(samples(), PATCH, PIXELS)
    found = velocities(dit, packed)

    inside = packed if text == "joint" else without_text(packed)
    masks = {spatial: plain_mask(inside, window_size, spatial) for spatial in (True, False)}
    for layer, block in enumerate(dit.blocks):
        whole, own = block.attention.forward, masks[layer % 2 == 0]

        def masked(x, angles, segments, past, windows, added=None, whole=whole, own=own):
            assert windows is not None
            marked = [Segment(part.length, mask) for part, mask in zip(segments, own, strict=True)]
            return whole(x, angles, marked, past, None, added)

        monkeypatch.setattr(block.attention, "forward", masked)
    torch.testing.assert_close(velocities(dit, packed), found, atol=1e-10, rtol=1e-10)
    pairs = [sum(int(mask.numel()) for mask in masks[True]), sum(part.pairs for part in dit.windows(inside)[0])]
    assert pairs[1] < pairs[0]


def test_windows_hold_every_token_once_and_divide_evenly():
    packed = pack_tokens(samples(), PATCH, PIXELS)
    dit = tiny_dit(attention="windows", window_size=(1, 2))
    for windows in dit.windows(packed):
        assert windows is not None and all(isinstance(part, Windows) for part in windows)
        assert sorted(place for part in windows for place in part.own.flatten().tolist()) == list(
            range(len(packed.kind))
        )
    grid = torch.tensor([[row, column, 5, 12] for row in range(5) for column in range(12)])
    _, counts = tiles_of(grid, (4, 4)).unique(return_counts=True)
    assert counts.tolist() == [12] * 3 + [8] * 3  # 3 and 2 rows, three times 4 columns
    assert tiles_of(torch.zeros(2, 4, dtype=torch.long), (4, 4)).tolist() == [-1, -1]


def test_cross_attention_reads_the_text_once():
    """A context brings it; a second one in the sequence is refused, none at all is no NaN."""
    dit, encode = tiny_dit(text="cross"), tiny_text()
    packed = pack_tokens([Sample(torch.tensor([1, 2]), ())], PATCH, PIXELS)
    states = encode(packed.text, packed.text_lengths)
    nothing, past = dit(packed, states)
    assert nothing.shape == (0, 16) and [len(layer[0].key) for layer in past.text] == [2, 2]
    context = dit.look_at(past)
    with pytest.raises(ValueError, match="brings its own"):
        dit(packed, states, context)
    alone = pack_tokens([Sample(NOTHING, (piece(1, 1, False, t=0.5),))], PATCH, PIXELS)
    without, made = dit(alone, states[:0])
    assert without.isfinite().all() and not torch.allclose(without, dit(alone, states[:0], context)[0])
    assert dit(alone, states[:0], context)[1].text == () and len(made.text) == 2


@every_option
def test_checkpoints_change_no_gradient(changes):
    dit, packed = tiny_dit(**changes), pack_tokens(samples(), PATCH, PIXELS)
    states = tiny_text()(packed.text, packed.text_lengths).detach()
    found, kept_bytes = [], []
    for checkpoints in (False, True):
        dit.checkpoints_activations = checkpoints
        dit.zero_grad()
        kept = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            output, past = dit(packed, states)
        output.square().sum().backward()
        found.append([output.detach(), *(weight.grad.clone() for weight in dit.parameters())])
        kept_bytes.append(kept)
        assert (not past.keys) == checkpoints
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert kept_bytes[1] < 0.5 * kept_bytes[0]
    with torch.no_grad():
        assert len(dit(packed, states)[1].keys) == len(dit.blocks)
