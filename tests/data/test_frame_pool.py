"""What a VAE is shown: against the files' own frames; the same for the same generator; broken clips left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from soracli.core.errors import DataError
from soracli.data.config import FramesConfig, FrameShape
from soracli.data.frame_pool import FramePool, draw_shape
from soracli.data.video_read import read_frames
from soracli.data.world.clips import world_frames
from tests.data.clips import make_clip, make_manifest

CLIPS = FramesConfig(
    world_share=0, height=40, width=40, fps=12.5, crop_candidates=1, shapes=(FrameShape(num_frames=5, crop=40),)
)
WORLD = FramesConfig(height=32, width=32, world_scenes=4, shapes=(FrameShape(num_frames=3, crop=16),))


def drawn(pool: FramePool, seed: int, num_frames: int = 3, crop: int | None = None) -> torch.Tensor:
    return pool.sample(torch.Generator().manual_seed(seed), num_frames, crop or pool.config.shapes[0].crop)


def as_floats(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(3, 0, 1, 2) / 127.5 - 1


def test_a_sample_is_a_stretch_of_a_clip(tmp_path):
    pool = FramePool(CLIPS, make_manifest(tmp_path, make_clip(tmp_path, "a.webp", 6)))
    whole = as_floats(read_frames(tmp_path / "a.webp"))
    starts = set()
    for seed in range(12):
        sample = drawn(pool, seed)
        assert sample.shape == (3, 3, 40, 40) and sample.dtype == torch.float32
        (start,) = [start for start in range(4) if torch.equal(sample, whole[:, start : start + 3])]
        starts.add(start)
    assert starts == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("num_frames", "shown"), [(1, [0] * 7), (2, [0, 1, 0, 1, 0, 1, 0]), (3, [0, 1, 2, 1, 0, 1, 2])]
)
def test_short_clips_run_forth_and_back(tmp_path, num_frames, shown):
    name = "a.png" if num_frames == 1 else "a.webp"
    pool = FramePool(CLIPS, make_manifest(tmp_path, make_clip(tmp_path, name, num_frames)))
    whole = as_floats(read_frames(tmp_path / name, fps=12.5, num_frames=num_frames))
    assert torch.equal(drawn(pool, 0, 7), whole[:, shown])


def test_samples_depend_on_the_generator_alone(tmp_path):
    """Not on what was drawn before, nor on what is still in memory."""
    clips = [make_clip(tmp_path, f"{number}.webp", 4, seed=number, alpha=number == 1) for number in range(3)]
    manifest = make_manifest(tmp_path, *clips)
    config = CLIPS.model_copy(update={"world_share": 0.3, "crop_candidates": 3, "world_scenes": 3})
    roomy, cramped = FramePool(config, manifest), FramePool(config.model_copy(update={"memory_gib": 1e-9}), manifest)
    samples = [drawn(roomy, seed, crop=24) for seed in range(20)]
    for seed in reversed(range(20)):
        assert torch.equal(drawn(cramped, seed, crop=24), samples[seed])
    assert len({sample.numpy().tobytes() for sample in samples}) > 15


def test_memory_is_capped():
    one = 3 * 32 * 32 * 3
    pool = FramePool(WORLD.model_copy(update={"memory_gib": 2.5 * one / 2**30, "world_scenes": 20}), None)
    for seed in range(10):
        drawn(pool, seed)
    assert pool._kept_bytes == 2 * one == sum(frames.nbytes for frames in pool._kept.values())


@pytest.mark.row(59)
def test_broken_clips_are_left_out(tmp_path):
    good, bad = make_clip(tmp_path, "good.webp", 4), make_clip(tmp_path, "bad.webp", 4, seed=1)
    (tmp_path / "bad.webp").write_bytes(b"no picture")
    pool = FramePool(CLIPS, make_manifest(tmp_path, good, bad))
    whole = as_floats(read_frames(tmp_path / "good.webp"))
    for seed in range(8):
        sample = drawn(pool, seed, 4)
        assert torch.equal(sample, whole)
    assert pool.broken == 1
    with pytest.raises(DataError, match="none of the clips can be decoded"):
        drawn(FramePool(CLIPS, make_manifest(tmp_path, bad)), 0)


def test_cut_outs_get_another_background_every_time(tmp_path):
    pool = FramePool(CLIPS, make_manifest(tmp_path, make_clip(tmp_path, "a.webp", 1 + 2, alpha=True)))
    samples = [drawn(pool, seed) for seed in range(6)]
    assert all(sample.shape == (3, 3, 40, 40) for sample in samples)
    corners = {tuple(sample[:, 0, 0, 0].tolist()) for sample in samples}
    assert len(corners) >= 5
    middles = {tuple(sample[:, 0, 20, 20].tolist()) for sample in samples}
    assert len(middles) < len(corners)  # the cut-out itself stays
    for sample in samples:
        assert torch.equal(sample[:, 0, 0, 0], sample[:, 2, 0, 0])  # a background stands still


def test_the_busiest_of_the_crops_is_taken(tmp_path):
    clip = make_clip(tmp_path, "a.webp", 2)
    pool = FramePool(CLIPS.model_copy(update={"crop_candidates": 400}), make_manifest(tmp_path, clip))
    frames = torch.zeros(1, 40, 40, 3, dtype=torch.uint8)
    frames[:, 24:26, 30:33] = 255
    crop = pool._busiest_crop(frames, 8, torch.Generator().manual_seed(0))
    assert crop.shape == (1, 8, 8, 3) and int((crop > 0).sum()) == 2 * 3 * 3


def test_world_scenes_are_those_of_the_world():
    pool = FramePool(WORLD.model_copy(update={"world_scenes": 1, "crop": 32}), None)
    frames, _ = world_frames(1, 0, num_frames=3, fps=12, height=32, width=32, samples=4)
    assert torch.equal(drawn(pool, 0, crop=32), frames.permute(3, 0, 1, 2) / 127.5 - 1)


def test_aspects_are_kept_and_the_crop_fits(tmp_path):
    clip = make_clip(tmp_path, "a.webp", 2)
    pool = FramePool(CLIPS.model_copy(update={"height": 80, "width": 56}), make_manifest(tmp_path, clip))
    assert drawn(pool, 0, 2, crop=56).shape == (3, 2, 56, 56)
    assert pool._kept["clip", 0].shape == (2, 80, 80, 3)


def test_what_cannot_be_is_said(tmp_path):
    with pytest.raises(DataError, match="give --clips"):
        FramePool(CLIPS, None)
    clip = replace(make_clip(tmp_path, "a.webp", 2), split="validation")
    with pytest.raises(DataError, match="no clip of the split 'train'"):
        FramePool(CLIPS, make_manifest(tmp_path, clip))
    FramePool(WORLD, None)


def test_shapes_are_drawn_by_weight_among_those_that_are_due():
    first = FrameShape(num_frames=1, crop=8, until_step=10)
    long = FrameShape(num_frames=9, crop=8, weight=3.0, from_step=10)
    wide = FrameShape(num_frames=1, crop=16, weight=1.0, from_step=10)
    config = FramesConfig(shapes=(first, long, wide))

    def shapes(step):
        return [draw_shape(config, step, torch.Generator().manual_seed(seed)) for seed in range(400)]

    assert set(shapes(9)) == {first}
    later = shapes(10)
    assert set(later) == {long, wide} and 260 < later.count(long) < 340  # 300 expected, four deviations are 35


@pytest.mark.parametrize(
    "shapes", [(), (FrameShape(from_step=1),), (FrameShape(until_step=5), FrameShape(from_step=6))]
)
def test_a_step_without_shapes_is_refused(shapes):
    with pytest.raises(ValueError, match="leave a gap"):
        FramesConfig(shapes=shapes)
