"""Clips from photographs: where the camera looks against closed forms, what is made again, and who sees what."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from soracli.data.video_read import read_frames

BASE = Path(__file__).resolve().parents[2] / "recipes" / "base"


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(BASE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BASE))


moves, pan = load("camera_moves"), load("pan_photographs")


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32),
    photograph=st.tuples(st.integers(256, 6000), st.integers(256, 6000)),
    size=st.sampled_from([(256, 256), (256, 144), (64, 200)]),
)
def test_a_view_stays_inside_and_is_not_enlarged(seed: int, photograph: tuple[int, int], size: tuple[int, int]) -> None:
    seconds = np.arange(49) / 12
    view = moves.draw_view(np.random.default_rng(seed), photograph, size, seconds)
    # The four corners of the turned view, one by one.
    for across in (-0.5, 0.5):
        for down in (-0.5, 0.5):
            right, below = across * view.width, down * view.width * size[1] / size[0]
            x = view.x + right * np.cos(view.angle) - below * np.sin(view.angle)
            y = view.y + right * np.sin(view.angle) + below * np.cos(view.angle)
            assert x.min() > -1e-6 and x.max() < photograph[0] + 1e-6
            assert y.min() > -1e-6 and y.max() < photograph[1] + 1e-6
    if min(photograph[0] / size[0], photograph[1] / size[1]) > 1.6:
        assert view.width.min() >= 0.94 * size[0]


def test_words_of_the_camera_are_true() -> None:
    said = set()
    for seed in range(200):
        view = moves.draw_view(np.random.default_rng(seed), (2000, 1500), (256, 256), np.arange(49) / 12)
        said.add(view.words)
        if "zooms" in view.words:
            assert (view.width[-1] < view.width[0]) == view.words.endswith("in")
        if "pans" in view.words:
            assert (view.x[-1] > view.x[0]) == view.words.endswith("right")
        if "turns" in view.words:
            assert (view.angle[-1] > view.angle[0]) == view.words.endswith(" clockwise")
    assert len(said) == 9


def still(value: float, frames: int = 2) -> NDArray[np.float64]:
    return np.full(frames, value)


def scene(view: Any, *things: Any, moments: int = 1) -> Any:
    return pan.Scene(view, things, moments, "")


def ramp(width: int, height: int, axis: int = 1) -> Image.Image:
    """Red is the index of the column (axis 1) or row (axis 0), green falls as red rises; linear, so at most 256."""
    index = np.mgrid[:height, :width][axis]
    return Image.fromarray(np.stack([index, 255 - index, 0 * index], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("angle", [0.0, 0.4])
@pytest.mark.parametrize("width", [24.0, 150.0])
def test_a_frame_shows_the_place_that_the_view_names(angle: float, width: float) -> None:
    """On a linear ramp every resampling must give the ramp's value at the pixel's middle."""
    size = (32, 24)
    view = moves.View(still(128.3), still(100.8), still(width), still(angle), "")
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    right, below = (x - size[0] / 2) * width / size[0], (y - size[1] / 2) * width / size[0]
    # A pixel's value is its index, which is its middle less 0.5.
    columns = 128.3 + right * math.cos(angle) - below * math.sin(angle) - 0.5
    rows = 100.8 + right * math.sin(angle) + below * math.cos(angle) - 0.5
    for axis, index in ((0, rows), (1, columns)):
        frame = next(pan.render(scene(view), ramp(256, 200, axis), size, 1)).astype(float)
        rising, falling = frame[..., 0] - index, frame[..., 1] - (255 - index)
        # Pillow cuts fractions off, which darkens both by half a level; a shift moves them apart.
        assert np.abs(rising - falling).max() / 2 < 1
        assert abs(float((rising - falling).mean())) / 2 < 0.17
        assert -0.6 < float((rising + falling).mean()) / 2 < 0.1


def test_a_thing_is_where_its_path_says(tmp_path: Path) -> None:
    y, x = np.mgrid[:200, :100] + 0.5
    disc = ((x - 50) ** 2 + (y - 100) ** 2 < 40**2) * 255
    rgba = np.stack([disc, disc, disc, disc], axis=-1).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "disc.png")
    view = moves.View(still(64), still(64), still(100), still(0), "")
    path = moves.Path2D(still(0.3), still(0.6), still(0.25), still(0.7), "")
    things = ((pan.Picture(tmp_path / "disc.png", "a disc", "train"), path),)
    frame = next(pan.render(scene(view, *things), Image.new("RGB", (128, 128)), (64, 64), 1))[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :64] + 0.5
    assert abs((frame * columns).sum() / frame.sum() - 0.3 * 64) < 0.1
    assert abs((frame * rows).sum() / frame.sum() - 0.6 * 64) < 0.1
    # A quarter of the frame is as wide as the cut-out, of which the disc takes four fifths.
    assert frame.sum() / 255 == pytest.approx(math.pi * (0.4 * 16) ** 2, rel=0.02)


def test_an_open_shutter_averages_its_moments() -> None:
    x = np.array([60.0, 64.0, 180.0, 188.0])
    moving = moves.View(x, still(100, 4), still(64, 4), still(0, 4), "")
    frames = list(pan.render(scene(moving, moments=2), ramp(256, 200), (64, 64), 2))
    assert len(frames) == 2
    for frame, middle in zip(frames, (62.0, 184.0), strict=True):
        shift = (float(frame[..., 0].mean()) + 255 - float(frame[..., 1].mean())) / 2
        assert shift == pytest.approx(middle - 0.5, abs=0.1)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two pictures of noise, one to train on and one held out, and a cut-out for each."""
    rng = np.random.default_rng(0)
    for folder, shape in (("pictures", (120, 160, 3)), ("cutouts", (40, 50, 4))):
        (tmp_path / folder).mkdir()
        lines = []
        for split in ("train", "validation"):
            pixels = Image.fromarray(rng.integers(0, 256, size=(6, 8, shape[2]), dtype=np.uint8))
            name = f"{folder}-{split}.png"
            pixels.resize((shape[1], shape[0]), Image.Resampling.BICUBIC).save(tmp_path / folder / name)
            lines.append(json.dumps({"file_name": name, "caption": f"a {split} {folder}", "split": split}) + "\n")
        (tmp_path / folder / "metadata.jsonl").write_text("".join(lines))
    return tmp_path


def make(photographs: Path, target: Path, each: int = 6) -> list[dict[str, str]]:
    arguments = ["--each", str(each), "--size", "48x32", "--frames", "3"]
    assert pan.main([str(photographs), str(target), *arguments]) == 0
    return [json.loads(line) for line in (target / "metadata.jsonl").read_text().splitlines()]


def test_clips_are_in_the_split_of_their_photograph(photographs: Path, tmp_path: Path) -> None:
    records = make(photographs, tmp_path / "clips")
    assert len(records) == 12
    assert any("cutouts" in record["caption"] for record in records)
    for record in records:
        assert record["split"] == ("validation" if "pictures-validation" in record["file_name"] else "train")
        other = "train" if record["split"] == "validation" else "validation"
        assert f"a {other}" not in record["caption"]
        assert read_frames(tmp_path / "clips" / record["file_name"]).shape == (3, 32, 48, 3)


def test_the_same_command_makes_only_what_is_missing(photographs: Path, tmp_path: Path) -> None:
    target = tmp_path / "clips"
    records = make(photographs, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    (target / "pictures-train-3.mp4").unlink()
    (target / "pictures-train-2.mp4").write_bytes(b"kept")
    assert make(photographs, target) == records
    after = {path.name: path.read_bytes() for path in target.iterdir()}
    assert after.pop("pictures-train-2.mp4") == b"kept"
    assert after == {name: content for name, content in before.items() if name != "pictures-train-2.mp4"}


def test_a_clip_does_not_depend_on_how_many_there_are(photographs: Path, tmp_path: Path) -> None:
    few, many = make(photographs, tmp_path / "few", each=1), make(photographs, tmp_path / "many", each=4)
    for record in few:
        assert record in many
        one, other = (tmp_path / folder / record["file_name"] for folder in ("few", "many"))
        assert one.read_bytes() == other.read_bytes()


def test_files_are_nearly_lossless(tmp_path: Path) -> None:
    """Smooth noise in strong colours that moves by half a pixel a frame: PSNR of what is read back."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((192, 192))
    view = moves.View(90 + np.arange(8) / 2, still(96, 8), still(96, 8), still(0.1, 8), "")
    drawn = list(pan.render(scene(view), noise, (96, 64), 8))
    pan.write_clip(tmp_path / "noise.mp4", drawn, (96, 64), 12.0)
    error = read_frames(tmp_path / "noise.mp4").astype(float) - np.stack(drawn)
    assert 10 * math.log10(255**2 / float((error**2).mean())) > 40


def test_a_small_photograph_is_left_out(photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--each", "1", "--size", "200x100", "--frames", "2"]
    assert pan.main([str(photographs), str(tmp_path / "clips"), *arguments]) == 0
    assert "smaller than a clip, left out: pictures-train.png" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--size", "48"], ["--size", "8x8"], ["--frames", "1"], ["--each", "0"], []])
def test_wrong_use_is_refused(photographs: Path, tmp_path: Path, wrong: list[str]) -> None:
    source = photographs if wrong else tmp_path / "nothing"
    with pytest.raises(SystemExit) as stopped:
        pan.main([str(source), str(tmp_path / "clips"), *wrong])
    assert stopped.value.code == 2


@pytest.mark.parametrize("size", [(64, 64), (64, 32)])
def test_a_thing_takes_the_same_share_of_the_camera_both_ways(size: tuple[int, int]) -> None:
    """Of what the ground moves in the frame, across and down; a camera that stands still gives the thing's own way."""
    seconds, share = np.arange(9) / 12, np.linspace(-0.5, 0.5, 9)
    width = still(100.0, 9)
    moving = moves.View(500 + 80 * share, 400 + 60 * share, width, still(0, 9), "")
    standing = moves.View(still(500, 9), still(400, 9), width, still(0, 9), "")
    for seed in range(20):
        one, other = (moves.draw_path(np.random.default_rng(seed), seconds, v, size, 0.5) for v in (moving, standing))
        across = (other.x - one.x)[-1] / (40 / 100)
        down = (other.y - one.y)[-1] / (30 / (100 * size[1] / size[0]))
        assert across == pytest.approx(down)
        assert 0.2 <= across <= 1.2
