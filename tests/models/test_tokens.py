"""Packing: who sees whom against the rule told again token by token; every number goes to the place it should."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.models.tokens import (
    MANY_FRAMES,
    ONE_FRAME,
    TEXT,
    Piece,
    Sample,
    pack_tokens,
    patchify,
    unpatchify,
    visibility,
)
from tests.models.tiny import piece

# Block, and 0 for its clean piece or the number of a noisy copy.
copies = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2)), unique=True, max_size=8)


@given(pieces=copies, lengths=st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_who_sees_whom(pieces, lengths):
    """Pieces in any order, each block at most once clean and once in every noisy copy."""
    stretches = [("text", 0, 0), *(("noisy" if copy else "clean", block, copy) for block, copy in pieces)]
    owner = [stretch for stretch, length in zip(stretches, lengths, strict=False) for _ in range(length)]

    def sees(row: tuple[str, int, int], column: tuple[str, int, int]) -> bool:
        if column[0] == "text" or row[0] == "text":
            return column[0] == "text"
        if row[0] == "clean":
            return column[0] == "clean" and column[1] <= row[1]
        return column == row or (column[0] == "clean" and column[1] < row[1])

    count = len(owner)
    expected = torch.tensor([sees(row, column) for row in owner for column in owner]).view(count, count).bool()
    kinds, blocks, numbers = zip(*stretches, strict=True)
    found = visibility(lengths[: len(stretches)], blocks, [kind != "noisy" for kind in kinds], numbers)
    assert expected.all() if found is None else torch.equal(found, expected)
    if found is not None:
        assert found.any(1).all()  # a token that sees nothing would be NaN


@given(
    frames=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    patch=st.sampled_from([(1, 1, 1), (1, 2, 2), (1, 1, 3)]),
)
def test_patches_and_back(frames, rows, columns, patch):
    size = (rows * patch[1], columns * patch[2])
    latents = torch.randn(4, frames, *size)
    patches = patchify(latents, patch)
    assert patches.shape == (frames, rows * columns, 4 * patch[1] * patch[2])
    assert torch.equal(unpatchify(patches, size, patch), latents)
    corner = latents[:, -1, -patch[1] :, -patch[2] :]
    assert sorted(patches[-1, -1].tolist()) == sorted(corner.flatten().tolist())


def test_latents_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match=r"\(4, 1, 3, 4\) do not divide into patches of 2x2"):
        patchify(torch.zeros(4, 1, 3, 4), (1, 2, 2))


def packed() -> tuple[list[Sample], object]:
    made = replace(piece(2, 2, False, t=0.7, start=1), step_size=0.25, guidance=0.5)
    samples = [
        Sample(torch.tensor([7, 8, 9]), (piece(1, 1, True), made)),
        Sample(torch.tensor([5]), (piece(1, 2, False, t=0.2, size=(2, 2)),)),
    ]
    return samples, pack_tokens(samples, (1, 2, 2), (8, 8))


def test_a_sequence_is_sample_after_sample_text_first():
    samples, tokens = packed()
    assert tokens.text.tolist() == [7, 8, 9, 5] and tokens.text_lengths == (3, 1)
    assert [segment.length for segment in tokens.segments] == [3 + 6 + 12, 1 + 1]
    assert tokens.kind.tolist() == [TEXT] * 3 + [ONE_FRAME] * 6 + [MANY_FRAMES] * 12 + [TEXT, ONE_FRAME]
    everything = torch.cat([torch.zeros(4, 16), tokens.patches])[tokens.order]
    for place, sample, number in ((3, samples[0], 0), (9, samples[0], 1), (22, samples[1], 0)):
        patches = patchify(sample.pieces[number].latents, (1, 2, 2)).flatten(0, 1)
        assert torch.equal(everything[place : place + len(patches)], patches)
    assert sorted(tokens.order.tolist()) == list(range(23))
    assert tokens.order[[0, 1, 2, 21]].tolist() == [0, 1, 2, 3]
    assert tokens.wanted.tolist() == [*range(9, 21), 22]
    assert tokens.segments[1].mask is not None and tokens.segments[1].mask.tolist() == [[True, False], [True, True]]


def test_every_latent_frame_has_its_own_condition():
    tokens = packed()[1]
    level, step, guidance = tokens.conditions[tokens.row].unbind(1)
    torch.testing.assert_close(level, torch.tensor([0.0] * 9 + [0.7] * 12 + [0.0, 0.2]))
    # What is given has neither: it is read alike whatever is made beside it.
    assert step.tolist() == [0.0] * 9 + [0.25] * 12 + [0.0] * 2
    assert guidance.tolist() == [0.0] * 9 + [0.5] * 12 + [0.0] * 2
    assert tokens.row.tolist() == [0] * 3 + [1] * 6 + [2] * 6 + [3] * 6 + [4, 5]
    own = piece(3, 1, False)
    own = Piece(own.latents, own.seconds, own.one_frame, torch.tensor([0.1, 0.5, 0.9]), 1, False)
    tokens = pack_tokens([Sample(torch.tensor([1]), (own,))], (1, 2, 2), (8, 8))
    torch.testing.assert_close(tokens.conditions[tokens.row, 0][1:], torch.tensor([0.1] * 6 + [0.5] * 6 + [0.9] * 6))


def test_coordinates_are_seconds_and_pixels_from_the_middle():
    """4x6 latents of 8x16 pixels in patches of 2x2: 2x3 tokens, 16x32 pixels each."""
    tokens = pack_tokens([Sample(torch.tensor([1]), (piece(2, 2, False, start=3),))], (1, 2, 2), (8, 16))
    place = tokens.coordinates.unflatten(0, (-1, 1))
    assert not place[0].any()
    video = tokens.coordinates[1:].unflatten(0, (2, 2, 3))
    torch.testing.assert_close(video[..., 0], torch.tensor([0.75, 1.0])[:, None, None].expand(2, 2, 3))
    torch.testing.assert_close(video[0, :, 0, 1] * 128, torch.tensor([-8.0, 8.0]))
    torch.testing.assert_close(video[0, 0, :, 2] * 128, torch.tensor([-32.0, 0.0, 32.0]))


def test_moving_to_a_device_loses_nothing():
    tokens = packed()[1]
    moved = tokens.to(torch.device("cpu"))
    assert moved.text_lengths == tokens.text_lengths and torch.equal(moved.order, tokens.order)
    assert torch.equal(moved.segments[0].mask, tokens.segments[0].mask)
