"""Excerpts: as long as clips allow, at the size that is asked for, with masks that follow alpha."""

from pathlib import Path

import pytest

from soracli.core.errors import UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.data.manifest import read_manifest
from soracli.pipelines.sample_clips import Excerpt, excerpt_for, manifest_clips
from tests.pipelines.disc_clips import disc_clip, write_clips, write_disc

EXCERPT = Excerpt(num_frames=5, step=2, height=32, width=32, fps=12)


@pytest.fixture
def folder(workspace: Path) -> Path:
    for name, num_frames in (("d.webp", 8), ("e.webp", 4), ("f.webp", 1)):
        write_disc(workspace, name, num_frames)
    return workspace


def test_excerpts_are_as_long_as_clips_allow_and_masks_follow_alpha(folder: Path) -> None:
    clips = [
        disc_clip("d.webp", "validation", 8),
        disc_clip("e.webp", "validation", 4),
        disc_clip("f.webp", "validation", 1),
    ]
    manifest = read_manifest(write_clips(folder / "clips.jsonl", *clips))
    found = {clip.name: clip for clip in manifest_clips(manifest, manifest.clips, 0, EXCERPT)}
    assert {name: len(clip.frames) for name, clip in found.items()} == {"d.webp": 5, "e.webp": 3, "f.webp": 1}
    mask = found["f.webp"].mask
    assert mask is not None and mask[0, 16, 10] and not mask[0, 2, 2]
    assert found["f.webp"].frames[0][mask[0]].float().std(0).max() < 30  # one colour inside the disc


def test_an_opaque_clip_has_no_mask(workspace: Path) -> None:
    write_disc(workspace, "g.webp", 1, alpha=False)
    manifest = read_manifest(write_clips(workspace / "clips.jsonl", disc_clip("g.webp", "validation", 1)))
    (clip,) = manifest_clips(manifest, manifest.clips, 0, EXCERPT)
    assert clip.mask is None and bool((clip.frames == 90).all())


def test_excerpts_fit_the_compression_or_the_size_that_is_asked_for() -> None:
    spec = LatentSpec(channels=1, compression=(8, 32, 48), mean=(0.0,), std=(1.0,), vae_hash="")
    found = excerpt_for(spec)
    assert (found.num_frames, found.step, found.height, found.width, found.fps) == (17, 8, 128, 96, 12)
    found = excerpt_for(spec, (256, 96))
    assert (found.height, found.width) == (256, 96)
    with pytest.raises(UsageError, match="the nearest is 96x128"):
        excerpt_for(spec, (130, 96))
