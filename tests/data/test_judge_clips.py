"""Drawn scenes and their truth: against the renderer's own masks, mirrored twice, and read back from files."""

import pytest
import torch

from soracli.core.errors import ArtifactError
from soracli.core.progress import SilentReporter
from soracli.data.judge_clips import mirror_clips, read_judge_clips, scene_clips, write_judge_clips
from soracli.data.world.grammar import CAMERAS, MOTIONS, sample_scene

SMALL = {"num_frames": 3, "seconds_between": 0.5, "side": 32}


def clips(count=6):
    return scene_clips([sample_scene(5, index, split="any") for index in range(count)], **SMALL)


def test_middles_lie_where_the_objects_are_drawn():
    drawn = scene_clips(
        [sample_scene(5, index, split="any", num_objects=1) for index in range(8)],
        num_frames=3,
        seconds_between=0.5,
        side=64,
    )
    place = (torch.arange(32) + 0.5) * 2 / 32 - 1
    checked = 0
    for video in range(8):
        for frame in range(3):
            rows, columns = (drawn["object_index"][video, frame] == 0).nonzero(as_tuple=True)
            at_edge = len(rows) == 0 or {0, 31} & {*rows.tolist(), *columns.tolist()}
            if at_edge:
                continue
            mean = torch.stack([place[columns].mean(), place[rows].mean()])
            across, down = (mean - drawn["centre"][video, frame, 0, :2]).tolist()
            assert abs(across) < 0.06
            # More of a cone shows below its middle than above.
            assert -0.05 < down < 0.2
            checked += 1
    assert checked > 12


def test_mirrored_twice_is_the_same_and_once_exchanges_the_sides():
    before, flipped = clips(), torch.tensor([True, False, True, True, False, True])
    once = mirror_clips(before, flipped)
    twice = mirror_clips(once, flipped)
    for key, value in before.items():
        assert torch.equal(twice[key], value), key
        assert torch.equal(once[key][1], value[1]), key
    assert torch.equal(once["frames"][0], before["frames"][0].flip(2))
    exchanged = {"left": "right", "right": "left", "pan left": "pan right", "pan right": "pan left"}
    exchanged |= {"orbit left": "orbit right", "orbit right": "orbit left"}
    for number in before["objects"][0, :, 3].tolist():
        if number >= 0:
            word = MOTIONS[number]
            assert MOTIONS.index(exchanged.get(word, word)) in once["objects"][0, :, 3].tolist()
    camera = CAMERAS[int(before["scene"][0, 1])]
    assert CAMERAS[int(once["scene"][0, 1])] == exchanged.get(camera, camera)
    assert torch.equal(once["objects"][:, :, :3], before["objects"][:, :, :3])


def test_files_hold_what_was_drawn_and_are_kept(tmp_path):
    settings = {"world_seed": 5, "scenes": 4, **SMALL, "reporter": SilentReporter()}
    write_judge_clips(tmp_path / "new", **settings)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "new").iterdir()}
    write_judge_clips(tmp_path / "new", **settings)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "new").iterdir()} == files
    found = read_judge_clips(tmp_path / "new", [3, 0])
    for key, value in clips(4).items():
        assert torch.equal(found[key], value[[3, 0]]), key


def test_damage_and_absence_are_told(tmp_path):
    with pytest.raises(ArtifactError, match="lacks scene 7"):
        read_judge_clips(tmp_path, [7])
    (tmp_path / "scenes_00000_50.safetensors").write_bytes(b"not")
    with pytest.raises(ArtifactError, match="damaged"):
        read_judge_clips(tmp_path, [0])


def test_a_stop_leaves_the_rest(tmp_path):
    write_judge_clips(tmp_path, world_seed=5, scenes=4, **SMALL, reporter=SilentReporter(), stop=lambda: True)
    assert not list(tmp_path.iterdir())
