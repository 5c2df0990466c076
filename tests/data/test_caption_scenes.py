"""What of a scene a clip shows: against the render's own masks, a mirror against the render of the mirrored scene."""

import random

import pytest
import torch

from soracli.core.progress import SilentReporter
from soracli.data.caption_scenes import read_scene_clip, scene_drawer
from soracli.data.drawn_scenes import read_drawn, write_drawn
from soracli.data.world.clips import world_frames
from soracli.data.world.grammar import HELD_OUT, sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.prompts import parse_prompt
from soracli.data.world.render import render_scene
from soracli.data.world.seen import mirrored, seen_objects, shown_shares

SIDE, FRAMES, BETWEEN = 32, 5, 0.5
SEED = 10
"""Of a world whose ninth scene would be held out in the mirror."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    draw = scene_drawer(SEED, "train", FRAMES, BETWEEN, SIDE)
    write_drawn(folder, 12, draw, reporter=SilentReporter())
    return folder


def read(folder, index, **more):
    settings = {"num_frames": FRAMES, "seconds_between": BETWEEN, **more}
    return read_scene_clip(folder, SEED, "train", index, **settings)


def test_frames_are_those_of_the_world_and_strides_leave_some_out(drawn):
    expected, shown = world_frames(SEED, 3, num_frames=FRAMES, fps=1 / BETWEEN, height=SIDE, width=SIDE, samples=4)
    clip = read(drawn, 3)
    assert torch.equal(clip.frames, expected) and clip.times.tolist() == [0, 0.5, 1, 1.5, 2]
    every_second = read(drawn, 3, num_frames=3, stride=2)
    assert torch.equal(every_second.frames, expected[::2]) and every_second.times.tolist() == [0, 1, 2]
    shares = read_drawn(drawn, [3], ["shares"])["shares"][0]
    for number in range(len(sample_scene(SEED, 3).objects)):
        torch.testing.assert_close(shares[:, number], (shown == number).float().mean((1, 2)))


def test_what_cannot_be_seen_is_not_told():
    shares = torch.zeros(6, 3)
    shares[:, 0] = 0.01
    shares[:2, 1] = 0.01
    shares[1:, 2] = 0.01
    assert seen_objects(shares) == [0, 1]  # the last one was not there at first
    assert seen_objects(shares[:1]) == [0, 1]
    shares[1, 1] = 0.0009
    assert seen_objects(shares) == [0]
    assert shown_shares(torch.tensor([[[0, -1], [0, 2]]]), 3).tolist() == [[0.5, 0.0, 0.25]]


def test_captions_and_facts_agree(drawn):
    rng = random.Random(0)
    for index in range(12):
        for frames in (1, FRAMES):
            clip = read(drawn, index, num_frames=frames)
            found, said = clip.facts(), parse_prompt(clip.caption("long", rng))
            assert said is not None and len(said["objects"]) == len(found["objects"])
            assert (found["camera"] is None) == (frames == 1) and said["camera"] == found["camera"]
            assert (said["ground"], said["sky"], said["contact"]) == (
                found["ground"],
                found["sky"],
                found["contact"],
            )
            key = lambda item: sorted(map(str, item.items()))  # noqa: E731
            assert sorted(said["objects"], key=key) == sorted(found["objects"], key=key)


def test_a_mirror_shows_the_mirrored_scene(drawn):
    times = torch.arange(FRAMES) * BETWEEN
    for index in range(12):
        scene = sample_scene(SEED, index)
        other = mirrored(scene)
        assert mirrored(other) == scene
        frames = render_scene(scene, simulate([scene], times).position[0], times, SIDE, SIDE).object_index
        twin = render_scene(other, simulate([other], times).position[0], times, SIDE, SIDE).object_index
        # A ray on an edge may fall to either side.
        assert float((frames.flip(2) == twin).float().mean()) > 0.995
        clip, plain = read(drawn, index, mirror=True), read(drawn, index)
        if other.held_out:
            assert torch.equal(clip.frames, plain.frames) and clip.scene == plain.scene
        else:
            assert torch.equal(clip.frames, plain.frames.flip(2)) and clip.scene == mirrored(plain.scene)


def test_mirrors_show_no_combination_that_is_held_out():
    scenes = [sample_scene(SEED, index) for index in range(12)]
    assert any(mirrored(scene).held_out for scene in scenes)
    assert not any(item.combination in HELD_OUT for scene in scenes for item in scene.objects)


def test_ranks_draw_what_one_draws(tmp_path, monkeypatch):
    monkeypatch.setattr("soracli.data.drawn_scenes.CHUNK", 2)
    draw = scene_drawer(5, "any", 1, 1.0, 16)
    write_drawn(tmp_path / "one", 5, draw, reporter=SilentReporter())
    for rank in range(2):
        write_drawn(tmp_path / "two", 5, draw, reporter=SilentReporter(), share=(rank, 2))
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1] and len(files[0]) == 3
