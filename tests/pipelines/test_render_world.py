"""Folders of world clips: their files against the world itself, going on after a stop, and refusing a mixture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soracli.core.errors import DataError, MachineError, Stopped, UsageError
from soracli.data.manifest import read_manifest
from soracli.data.video_read import read_frames
from soracli.data.world.captions import parse_prompt
from soracli.data.world.clips import world_frames
from soracli.data.world.grammar import sample_scene
from soracli.data.world.physics import simulate
from soracli.pipelines import render_world as pipeline
from soracli.pipelines.index_clips import index_clips
from soracli.pipelines.render_world import WorldOptions, missing_scenes, render_world

SMALL = WorldOptions(seconds=0.5, height=32, width=48)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_clips_hold_the_frames_captions_and_truth_of_their_scenes(tmp_path: Path) -> None:
    summary = render_world(tmp_path / "w", SMALL, count=2, start=3)
    assert (summary.rendered, summary.kept, summary.num_frames) == ((3, 4), (), 6)
    for index in (3, 4):
        frames, _ = world_frames(0, index, num_frames=6, fps=12, height=32, width=48)
        read = read_frames(tmp_path / "w" / f"{index:04d}.mp4")
        assert read.shape == (6, 32, 48, 3)
        assert np.abs(read.astype(int) - frames.numpy()).mean() < 4  # chroma is halved and the coding is lossy
        truth = json.loads((tmp_path / "w" / f"{index:04d}.json").read_text())
        scene, times = sample_scene(0, index), torch.arange(6) / 12
        path = simulate([scene], times)
        torch.testing.assert_close(torch.tensor(truth["positions"]), path.position[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(torch.tensor(truth["velocities"]), path.velocity[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(torch.tensor(truth["times"]), times, atol=1e-6, rtol=0)
        assert truth["facts"]["ground"] == scene.ground
        assert truth["scene"]["objects"][0]["radius"] == scene.objects[0].radius
        assert np.shape(truth["camera"]["origin"]) == (6, 3)
        caption = (tmp_path / "w" / f"{index:04d}.txt").read_text().strip()
        assert caption == truth["caption"]
        assert caption in truth["captions"].values()
        asked = parse_prompt(caption)
        assert asked is not None
        assert len(asked["objects"]) == len(scene.objects)


def test_a_folder_can_be_indexed_as_it_is(tmp_path: Path) -> None:
    options = replace(SMALL, split="any", num_objects=3)
    render_world(tmp_path / "w", options, count=6, contact_sheet=True)
    index_clips(tmp_path / "w")
    clips = read_manifest(tmp_path / "w" / "clips.jsonl").clips
    assert [clip.path for clip in clips] == [f"{index:04d}.mp4" for index in range(6)]
    held_out = [options.scene(index).held_out for index in range(6)]
    assert len(set(held_out)) == 2
    assert [clip.split == "validation" for clip in clips] == held_out
    assert all(clip.caption == (tmp_path / "w" / f"{clip.path[:4]}.txt").read_text().strip() for clip in clips)
    assert all((clip.num_frames, clip.fps, clip.height, clip.width) == (6, 12, 32, 48) for clip in clips)
    assert (tmp_path / "w-contact-sheet.png").is_file()


def test_pictures_are_the_first_frames(tmp_path: Path) -> None:
    options = WorldOptions(images=True, height=32, width=32, split="held_out", caption="long")
    summary = render_world(tmp_path, options, count=2)
    assert summary.num_frames == 1
    for index in (0, 1):
        frames, _ = world_frames(0, index, num_frames=1, fps=1, height=32, width=32, split="held_out")
        assert np.array_equal(read_frames(tmp_path / f"{index:04d}.png")[0], frames[0].numpy())
        asked = parse_prompt((tmp_path / f"{index:04d}.txt").read_text())
        assert asked is not None
        assert asked["camera"] is None
        assert asked["sky"] is not None


def test_going_on_gives_what_one_call_gives(tmp_path: Path) -> None:
    render_world(tmp_path / "whole", SMALL, count=4)
    render_world(tmp_path / "parts", SMALL, count=1, start=2)
    render_world(tmp_path / "parts", SMALL, count=2)
    # As a kill between the files of one scene leaves it.
    (tmp_path / "parts" / "0001.json").unlink()
    (tmp_path / "parts" / "0001.mp4").write_bytes(b"half")
    before = (tmp_path / "parts" / "0000.mp4").stat().st_mtime_ns
    summary = render_world(tmp_path / "parts", SMALL, count=4)
    assert (summary.rendered, summary.kept) == ((1, 3), (0, 2))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert (tmp_path / "parts" / "0000.mp4").stat().st_mtime_ns == before


def test_a_stop_leaves_whole_clips_and_the_same_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = pipeline.render_scene
    count = 0

    def interrupted(*arguments: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count == 2:
            import signal

            signal.raise_signal(signal.SIGTERM)
        return drawn(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "render_scene", interrupted)
    with pytest.raises(Stopped, match=r"scene 2 of .* goes on"):
        render_world(tmp_path, SMALL, count=4)
    assert missing_scenes(tmp_path, SMALL, range(4)) == [2, 3]
    assert render_world(tmp_path, SMALL, count=4).kept == (0, 1)
    assert len((tmp_path / "metadata.jsonl").read_text().splitlines()) == 4


def test_long_clips_are_drawn_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render_world(tmp_path / "whole", SMALL, count=1)
    monkeypatch.setattr(pipeline, "_PIXELS_AT_ONCE", 32 * 48 * 2)
    render_world(tmp_path / "parts", SMALL, count=1)
    whole, parts = (read_frames(tmp_path / name / "0000.mp4").astype(int) for name in ("whole", "parts"))
    assert np.abs(whole - parts).max() <= 4


def test_other_options_are_refused_and_overwrite_removes_the_old(tmp_path: Path) -> None:
    render_world(tmp_path, SMALL, count=3)
    (tmp_path / "notes.json").write_text("{}")
    other = replace(SMALL, seed=1, caption="long")
    with pytest.raises(UsageError, match="seed 0 not 1, caption both not long; name another --out"):
        render_world(tmp_path, other, count=1)
    render_world(tmp_path, other, count=1, overwrite=True)
    names = {"0000.mp4", "0000.txt", "0000.json", "metadata.jsonl", "world.json", "notes.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert missing_scenes(tmp_path, other, range(2)) == [1]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "0001.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"0001\.txt exists and is not of this command"):
        render_world(tmp_path, SMALL, count=2)
    assert [path.name for path in tmp_path.iterdir()] == ["0001.txt"]
    with pytest.raises(UsageError, match="is a file; name a folder"):
        render_world(tmp_path / "0001.txt", SMALL, count=2)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    render_world(tmp_path, SMALL, count=2)
    (tmp_path / "0001.json").write_text('{"format"')
    with pytest.raises(DataError, match=r"0001\.json: is damaged; delete it"):
        render_world(tmp_path, SMALL, count=2)
    (tmp_path / "world.json").write_text("[]")
    with pytest.raises(DataError, match=r"world\.json: is damaged"):
        missing_scenes(tmp_path, SMALL, range(2))


def test_a_device_that_is_not_here(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cuda:99 is not available"):
        render_world(tmp_path / "w", SMALL, count=1, device="cuda:99")
    assert not (tmp_path / "w").exists()
