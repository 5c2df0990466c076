"""Sources of edits: who sees them, told token by token; packed = alone; cached = one pass; 0 at the start."""

import pytest
import torch

from soracli.models.dit import DiT, Past
from soracli.models.layers.attention import Keys
from soracli.models.token_drop import drop_tokens
from soracli.models.tokens import SOURCE_BLOCK, Piece, Sample, pack_tokens, patchify
from tests.models.tiny import DIT, TEXT, piece, tiny_dit, tiny_text

PATCH, PIXELS = (1, 2, 2), (8, 8)
NOTHING = torch.zeros(0, dtype=torch.long)
OPTIONS = [
    {},
    {"text": "cross"},
    {"attention": "windows", "window_size": (1, 2)},
    {"text": "cross", "attention": "windows", "window_size": (2, 1), "block": "diffit", "depth": 3},
]
every_option = pytest.mark.parametrize("changes", OPTIONS, ids=lambda changes: " ".join(map(str, changes.values())))


def source(seed: int = 7) -> Piece:
    return piece(3, SOURCE_BLOCK, True, seed=seed)


def edited(seed: int = 7) -> Sample:
    pieces = (source(seed), piece(1, 1, True), piece(2, 2, False, start=1, t=0.6))
    return Sample(torch.tensor([1, 2, 3]), pieces)


def plain() -> Sample:
    return Sample(torch.tensor([4, 5]), (piece(1, 2, False, t=0.3, seed=1),))


def velocities(dit, packed):
    return dit(packed, tiny_text()(packed.text, packed.text_lengths))[0]


def test_who_sees_a_source():
    tokens = pack_tokens([edited()], PATCH, PIXELS)
    names = ["text"] * 3 + ["source"] * 18 + ["given"] * 6 + ["noisy"] * 12
    sees = {
        "text": {"text"},
        "source": {"text", "source"},
        "given": {"text", "source", "given"},
        "noisy": {"text", "source", "given", "noisy"},
    }
    expected = torch.tensor([[column in sees[row] for column in names] for row in names])
    assert torch.equal(tokens.segments[0].mask, expected)
    assert [name == "source" for name in names] == tokens.of_source.tolist()
    assert tokens.wanted.tolist() == [place for place, name in enumerate(names) if name == "noisy"]


def test_it_stands_where_the_frames_stand_that_are_made_of_it():
    tokens = pack_tokens([edited()], PATCH, PIXELS)
    assert torch.equal(tokens.coordinates[tokens.of_source], tokens.coordinates[3 + 18 :])


def test_a_noisy_source_is_refused():
    noisy = Piece(**{**vars(source()), "clean": False})
    with pytest.raises(ValueError, match="a source is clean"):
        pack_tokens([Sample(NOTHING, (noisy,))], PATCH, PIXELS)


@every_option
def test_packed_is_alone(changes):
    dit = tiny_dit(edits=True, **changes)
    parts = [edited(), plain(), edited(8)]
    together = velocities(dit, pack_tokens(parts, PATCH, PIXELS))
    alone = torch.cat([velocities(dit, pack_tokens([part], PATCH, PIXELS)) for part in parts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert (alone[:12] - alone[-12:]).abs().max() > 1e-3  # another source, another edit


@every_option
def test_read_before_and_held_is_one_pass(changes):
    """As it is sampled: the text, then its source, then what is given, then the block; each sees what was read."""
    dit = tiny_dit(edits=True, **changes).double()
    text = tiny_text().double()
    whole = pack_tokens([edited()], PATCH, PIXELS)
    expected = dit(whole, text(whole.text, whole.text_lengths))[0]
    first = pack_tokens([Sample(torch.tensor([1, 2, 3]), ())], PATCH, PIXELS)
    _, past = dit(first, text(first.text, first.text_lengths))
    for part in edited().pieces:
        packed = pack_tokens([Sample(NOTHING, (part,))], PATCH, PIXELS)
        found, made = dit(packed, torch.zeros(0, 16).double(), dit.look_at(past))
        past = joined(past, made)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def joined(past: Past, made: Past) -> Past:
    """One segment's past, longer."""
    keys = tuple(
        (Keys(torch.cat([old.key, new.key]), torch.cat([old.value, new.value])),)
        for (old,), (new,) in zip(past.keys, made.keys, strict=True)
    )
    tiles = tuple(torch.cat(both) for both in zip(past.tiles, made.tiles, strict=True))
    return Past(keys, (torch.cat([past.coordinates[0], made.coordinates[0]]),), tiles=tiles, text=past.text)


def test_in_windows_a_frame_meets_its_source_in_its_own_tile_first():
    """One spatial and one spatiotemporal layer: what changes in one tile of the source changes that tile alone."""
    dit = tiny_dit(edits=True, attention="windows", window_size=(2, 1))  # three tiles of 2x1 tokens
    latents = source().latents.clone()
    latents[:, :, :, :2] += 1
    other = Piece(**{**vars(source()), "latents": latents})
    one, two = (
        velocities(dit, pack_tokens([Sample(torch.tensor([1]), (first, piece(2, 2, False, t=0.6)))], PATCH, PIXELS))
        for first in (source(), other)
    )
    changed = (one - two).abs().amax(-1).view(2, 2, 3) > 1e-6  # frames, rows and columns of tokens
    # The source's own spatial layer spreads it over the source's frames, so every tile may have heard of it...
    assert changed[..., 0].all()
    dit = tiny_dit(edits=True, attention="windows", window_size=(2, 1), depth=1)  # ...and no spatial one meets it
    one, two = (
        velocities(dit, pack_tokens([Sample(torch.tensor([1]), (first, piece(2, 2, False, t=0.6)))], PATCH, PIXELS))
        for first in (source(), other)
    )
    assert torch.equal(one, two)


def test_it_begins_where_a_model_without_it_is():
    """With its weights and a mark of 0, a sample without a source gives the same to the bit, one with it does not."""
    before = tiny_dit()
    dit = DiT(DIT.model_copy(update={"edits": True}), 4, TEXT.hidden_size)
    missing = dit.load_state_dict(before.state_dict(), strict=False)
    assert missing.missing_keys == ["source_embed"] and not missing.unexpected_keys
    assert not dit.source_embed.any() and "source_embed" not in before.state_dict()
    packed = pack_tokens([plain()], PATCH, PIXELS)
    assert torch.equal(velocities(dit, packed), velocities(before, packed))
    packed = pack_tokens([edited()], PATCH, PIXELS)
    with pytest.raises(ValueError, match=r"not made to edit: dit\.edits = false"):
        velocities(before, packed)
    unmarked = velocities(dit, packed)
    with torch.no_grad():
        dit.source_embed += torch.linspace(-1, 1, 24)  # a constant would be normalised away
    assert (velocities(dit, packed) - unmarked).abs().max() > 1e-3
    assert torch.equal(
        velocities(dit, pack_tokens([plain()], PATCH, PIXELS)),
        velocities(before, pack_tokens([plain()], PATCH, PIXELS)),
    )


def test_dropped_tokens_leave_the_source_whole():
    tokens = pack_tokens([edited()], PATCH, PIXELS)
    kept = torch.ones(len(tokens.kind), dtype=torch.bool)
    kept[tokens.wanted[::2]] = False
    fewer = drop_tokens(tokens, [kept])
    assert fewer.of_source.tolist() == tokens.of_source[kept].tolist() and int(fewer.of_source.sum()) == 18
    patches = patchify(source().latents, PATCH).flatten(0, 1)
    assert torch.equal(fewer.patches[fewer.order[fewer.of_source] - 3], patches)
