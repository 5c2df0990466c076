"""Which clips are judged and which are fitted on: names, manifests without training clips, and scenes."""

from pathlib import Path

import pytest

from soracli.core.errors import DataError
from soracli.pipelines import clip_sources
from soracli.pipelines.clip_sources import ClipSource, clips_names, manifest_sources, world_source
from soracli.pipelines.sample_clips import Excerpt
from tests.pipelines.disc_clips import disc_clip, write_clips, write_disc

EXCERPT = Excerpt(num_frames=5, step=2, height=32, width=32, fps=12)


@pytest.fixture
def folder(workspace: Path) -> Path:
    for name, num_frames in (("d.webp", 8), ("e.webp", 4), ("f.webp", 1)):
        write_disc(workspace, name, num_frames)
    return workspace


def _read(source: ClipSource) -> tuple[list[str], list[str]]:
    return [clip.name for clip in source.held_out()], [clip.name for clip in source.training.read()]


def test_a_manifest_fits_on_its_own_clips_and_one_without_on_the_first_that_has_some(folder: Path) -> None:
    film = write_clips(folder / "film.jsonl", disc_clip("d.webp", "validation", 8))
    emoji = write_clips(folder / "emoji.jsonl", disc_clip("e.webp", "train", 4), disc_clip("f.webp", "validation", 1))
    other = write_clips(folder / "other.jsonl", disc_clip("f.webp", "train", 1), disc_clip("d.webp", "validation", 8))
    sources = manifest_sources([film, emoji, other], None, 0, EXCERPT)
    assert [source.name for source in sources] == ["film", "emoji", "other"]
    read = [_read(source) for source in sources]
    assert read == [(["d.webp"], ["e.webp"]), (["f.webp"], ["e.webp"]), (["d.webp"], ["f.webp"])]
    assert sources[0].training is sources[1].training  # so it is fitted once
    assert "1 of 1 training clips of" in sources[0].training.protocol and str(emoji) in sources[0].training.protocol


def test_named_training_clips_are_those_of_all(folder: Path) -> None:
    emoji = write_clips(folder / "emoji.jsonl", disc_clip("e.webp", "train", 4), disc_clip("f.webp", "validation", 1))
    photos = write_clips(folder / "photos.jsonl", disc_clip("f.webp", "train", 1))
    (source,) = manifest_sources([emoji], photos, 0, EXCERPT)
    assert _read(source) == (["f.webp"], ["f.webp"]) and str(photos) in source.training.protocol


def test_at_most_so_many_training_clips_are_drawn_by_seed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_sources, "TRAINING_CLIPS", 3)
    for number in range(8):
        write_disc(folder, f"{number}.webp", 1)
    train = [disc_clip(f"{number}.webp", "train", 1) for number in range(8)]
    path = write_clips(folder / "emoji.jsonl", *train, disc_clip("f.webp", "validation", 1))
    first, second, again = (manifest_sources([path], None, seed, EXCERPT)[0] for seed in (0, 1, 0))
    names = [_read(source)[1] for source in (first, second, again)]
    assert first.training.num_clips == len(names[0]) == 3 and "3 of 8" in first.training.protocol
    assert names[0] == names[2] != names[1]


def test_what_is_missing_is_told(folder: Path) -> None:
    film = write_clips(folder / "film.jsonl", disc_clip("d.webp", "validation", 8))
    train = write_clips(folder / "train.jsonl", disc_clip("e.webp", "train", 4))
    for paths, fit, said in (
        ([train], None, r"train\.jsonl: no clip of the split 'validation'"),
        ([film], None, r"film\.jsonl: no clip of the split 'train' .* --fit"),
        ([film], film, r"film\.jsonl: no clip of the split 'train'"),
        ([film, folder / "none.jsonl"], None, r"none\.jsonl: no such manifest"),
    ):
        with pytest.raises(DataError, match=said):
            manifest_sources(paths, fit, 0, EXCERPT)


def test_names_are_short_and_never_twice_the_same() -> None:
    def names(*paths: str) -> list[str]:
        return clips_names([Path(path) for path in paths])

    assert names("film.jsonl", "/data/emoji/clips/clips.jsonl", "photos/clips.jsonl") == ["film", "emoji", "photos"]
    assert names("a/film.jsonl", "b/film.jsonl") == ["a/film.jsonl", "b/film.jsonl"]
    assert names("world.jsonl") == ["world.jsonl"]
    assert names("/clips.jsonl") == ["clips"]


def test_scenes_are_held_out_ones_and_those_to_fit_on_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_sources, "TRAINING_CLIPS", 2)
    source = world_source(3, 5, EXCERPT)
    held_out, training = list(source.held_out()), list(source.training.read())
    assert (len(held_out), len(training)) == (source.num_clips, source.training.num_clips) == (3, 2)
    assert all(clip.mask is not None and clip.frames.shape == (5, 32, 32, 3) for clip in (*held_out, *training))
    assert not held_out[0].frames.equal(training[0].frames)
    assert "1000005" in source.protocol
