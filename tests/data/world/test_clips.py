"""Clips by index: the frames of the scene they name, from any second on."""

from __future__ import annotations

import torch

from soracli.data.world.clips import world_frames
from soracli.data.world.grammar import sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene


def test_a_clip_is_its_scene_drawn() -> None:
    frames, index = world_frames(3, 5, num_frames=3, fps=4, height=24, width=32, split="held_out")
    scene, times = sample_scene(3, 5, split="held_out"), torch.arange(3) / 4
    drawn = render_scene(scene, simulate([scene], times).position[0], times, 24, 32)
    assert torch.equal(frames, drawn.frames)
    assert torch.equal(index, drawn.object_index)
    assert scene.held_out


def test_a_later_start_goes_on_with_the_same_video() -> None:
    whole, whole_index = world_frames(3, 6, num_frames=5, fps=4, height=24, width=24)
    late, late_index = world_frames(3, 6, num_frames=3, fps=4, height=24, width=24, start=0.5)
    assert torch.equal(whole_index[2:], late_index)
    assert (whole[2:].int() - late.int()).abs().max() <= 1
