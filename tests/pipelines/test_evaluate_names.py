"""Videos of names: real clips of known colours, a maker that is right about some of them, ranks and the floor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from soracli.core.errors import DataError
from soracli.core.progress import SilentReporter
from soracli.data.manifest import Clip, Split, clip_id_of, read_manifest, write_manifest
from soracli.pipelines import clip_features
from soracli.pipelines.evaluate_names import NamesReport, draw_names, evaluate_names
from soracli.pipelines.video_maker import VideoMaker
from tests.pipelines.tiny_eval import flat, pretend_maker

COLOURS = {
    "cherry": (200, 20, 30),
    "leaf": (20, 180, 40),
    "wave": (20, 60, 220),
    "lemon": (230, 220, 30),
    "night": (10, 10, 20),
    "grape": (120, 20, 160),
    "orange": (240, 140, 10),
}


def _clip(name: str, caption: str, split: Split = "train", seconds: float = 1.0) -> Clip:
    sha256 = name.encode().hex().ljust(64, "0")
    return Clip(
        path=name,
        start=0.0,
        num_frames=round(10 * seconds),
        fps=10.0,
        height=32,
        width=32,
        seconds=seconds,
        caption=caption,
        sha256=sha256,
        clip_id=clip_id_of(sha256, 0.0, 10, 10.0),
        kind="animation",
        split=split,
        original_name=name,
    )


@pytest.fixture(autouse=True)
def _thumbnails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_features, "find_feature_weights", lambda: None)


@pytest.fixture
def manifest(workspace: Path) -> Path:
    """Animations of one colour each, half see-through; two of one name, one without a name, one held out."""
    clips = []
    named = [(name, name, colour) for name, colour in COLOURS.items()]
    named += [("twin a", "twin", (90, 90, 90)), ("twin b", "twin", (140, 140, 140)), ("nameless", "", (255, 200, 255))]
    for name, caption, colour in [*named, ("held", "held", (1, 2, 3))]:
        rgba = np.zeros((10, 32, 32, 4), np.uint8)
        rgba[:, :, 8:] = (*colour, 255)
        pictures = [Image.fromarray(frame) for frame in rgba]
        # Frames that are all alike would be stored as one.
        for number, picture in enumerate(pictures):
            picture.putpixel((31, 31), (number, 0, 0, 255))
        pictures[0].save(f"{name}.webp", save_all=True, append_images=pictures[1:], duration=100, lossless=True)
        clips.append(_clip(f"{name}.webp", caption, "validation" if name == "held" else "train"))
    write_manifest(workspace / "clips.jsonl", clips, {})
    return workspace / "clips.jsonl"


def _picture(colour: tuple[int, int, int], num_frames: int) -> Tensor:
    frames = flat(colour, num_frames)
    frames[:, :, :8] = 255
    return frames


def _maker(wrong: str) -> VideoMaker:
    """Makes paler clips of the names asked for, but one of another name."""

    def make(prompt: str, seed: int, num_frames: int) -> Tensor:
        shown = "leaf" if prompt == wrong else prompt
        return (_picture(COLOURS[shown], num_frames).float() * 0.8 + 40).to(torch.uint8)

    return pretend_maker(make)


def _evaluate(manifest: Path, maker: VideoMaker, count: int = 7, seed: int = 0) -> tuple[NamesReport, list[Tensor]]:
    return evaluate_names(
        maker, manifest, count=count, seed=seed, device=torch.device("cpu"), reporter=SilentReporter()
    )


def test_ranks_shares_and_floor(manifest: Path) -> None:
    report, shown = _evaluate(manifest, _maker("wave"))
    (shares,) = report.shares
    assert (shares.first.right, shares.first.total) == (6, 7)
    assert shares.floor_first.share == shares.floor_among_nearest.share == 1
    assert report.clips == 10 and len(shown) == 7
    found = {item.name: item for item in report.videos}
    assert set(found) == set(COLOURS)  # neither the twins, nor the nameless one, nor the one held out
    assert found["wave"].nearest["thumbnails"][0] == "leaf" and found["wave"].rank["thumbnails"] > 0
    assert found["lemon"].nearest["thumbnails"][0] == "lemon" and found["lemon"].rank["thumbnails"] == 0
    assert len(found["lemon"].nearest["thumbnails"]) == 5
    assert [item.seed for item in report.videos] == list(range(7))
    for word in ("7 captions (seed 0)", "10 training clips", "pip install", "through the model's VAE"):
        assert word in report.protocol


def test_the_floor_is_that_of_the_vae(manifest: Path) -> None:
    """A VAE that makes everything green: no real clip finds itself but the green one."""
    maker = _maker("")
    broken = VideoMaker(**{**maker.__dict__, "decode_again": lambda frames: _picture(COLOURS["leaf"], len(frames))})
    (shares,) = _evaluate(manifest, broken)[0].shares
    assert shares.first.share == 1 and shares.floor_first.right == 1


def test_names_are_drawn_by_seed(manifest: Path) -> None:
    clips = [clip for clip in read_manifest(manifest).clips if clip.split == "train"]
    drawn = [clip.caption for clip in draw_names(clips, 7, 0)]
    assert sorted(drawn) == sorted(COLOURS)
    assert [clip.caption for clip in draw_names(clips[::-1], 3, 0)] == drawn[:3]
    assert len({tuple(clip.caption for clip in draw_names(clips, 7, seed)) for seed in range(4)}) > 1


def test_what_is_refused(manifest: Path) -> None:
    write_manifest(manifest, [_clip("twin a.webp", "twin"), _clip("twin b.webp", "twin")], {})
    with pytest.raises(DataError, match="captions that one clip alone has"):
        _evaluate(manifest, _maker(""))
    write_manifest(manifest, [_clip("gone.webp", "one"), _clip("twin b.webp", "two")], {})
    with pytest.raises(DataError, match=r"gone\.webp"):
        _evaluate(manifest, _maker(""))
