"""Tracks against painted maps whose objects are known."""

import torch

from soracli.metrics.tracks import track_objects

SIDE, FRAMES, COLOURS = 64, 9, 4


def paint(objects, frames=FRAMES):
    """Maps of squares: a list of (colour, half side, place per frame or None), later ones in front."""
    there = torch.zeros(frames, SIDE, SIDE)
    colour = torch.full((frames, COLOURS, SIDE, SIDE), 0.25)
    centre = torch.zeros(frames, 2, SIDE, SIDE)
    grid = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
    for number, half, places in objects:
        for frame, place in enumerate(places[:frames]):
            if place is None:
                continue
            inside = ((grid - place[0]).abs() < half)[None, :] & ((grid - place[1]).abs() < half)[:, None]
            there[frame][inside] = 0.9
            colour[frame][:, inside] = 0.05
            colour[frame][number][inside] = 0.85
            centre[frame][:, inside] = torch.tensor(place)[:, None]
    return there, colour, centre


def still(x, y):
    return [(x, y)] * FRAMES


def test_two_of_one_colour_that_touch_are_two():
    member, colours = track_objects(*paint([(1, 0.1, still(-0.1, 0.0)), (1, 0.1, still(0.1, 0.0))]))
    assert colours == [1, 1]
    assert (member.sum(1) <= 1).all()
    assert member.any((2, 3)).all()


def test_one_cut_in_two_by_another_is_one():
    member, colours = track_objects(*paint([(0, 0.3, still(0.0, 0.0)), (2, 0.14, still(0.0, 0.0))]))
    assert colours == [0, 2]
    assert int(member[0, 0].sum()) > 3 * int(member[0, 1].sum())
    tall = [(3, 0.12, [(0.0, -0.24 + 0.24 * row) for _ in range(FRAMES)]) for row in range(3)]
    _, colours = track_objects(*paint([(0, 0.3, still(0.0, 0.0)), *tall]))
    assert sorted(colours) == [0, 3, 3, 3]


def test_two_of_one_colour_that_pass_each_other_keep_their_ways():
    right = [(-0.6 + 0.15 * frame, -0.15) for frame in range(FRAMES)]
    left = [(0.6 - 0.15 * frame, 0.15) for frame in range(FRAMES)]
    _, _, centre = maps = paint([(1, 0.1, right), (1, 0.1, left)])
    member, colours = track_objects(*maps)
    assert colours == [1, 1]
    for number in range(2):
        xs = torch.stack([centre[frame, 0][member[frame, number]].mean() for frame in range(FRAMES)])
        assert (xs.diff().sign() == xs.diff()[0].sign()).all()


def test_a_gap_does_not_end_a_track_and_a_glimpse_makes_none():
    hidden = [None if frame in (3, 4) else (0.1 * frame - 0.4, 0.0) for frame in range(FRAMES)]
    glimpse = [(0.0, 0.7) if frame < 2 else None for frame in range(FRAMES)]
    member, colours = track_objects(*paint([(1, 0.12, hidden), (2, 0.12, glimpse)]))
    assert colours == [1]
    assert member.any((2, 3))[:, 0].tolist() == [place is not None for place in hidden]


def test_a_short_video_needs_all_its_frames_only():
    _, colours = track_objects(*paint([(1, 0.2, still(0.0, 0.0))], frames=2))
    assert colours == [1]


def test_nothing_is_nothing():
    member, colours = track_objects(*paint([]))
    assert member.shape == (FRAMES, 0, SIDE, SIDE)
    assert colours == []


def test_noise_everywhere_ends_and_stays_bounded():
    member, colours = track_objects(
        torch.ones(4, SIDE, SIDE), torch.rand(4, COLOURS, SIDE, SIDE), torch.rand(4, 2, SIDE, SIDE) * 3 - 1.5
    )
    assert len(colours) == member.shape[1] <= 4 * 6 * COLOURS
