"""Pictures set in motion by ``generate``: against ``extend`` at their own size; sizes, crops, names, refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from soracli.core.errors import DataError, UsageError
from soracli.data.video_info import VideoInfo
from soracli.data.video_read import probe_video, read_frames
from soracli.data.video_record import read_record
from soracli.data.video_write import VideoWriter
from soracli.models.generator import load_generator
from soracli.models.store import load_vae
from soracli.pipelines import generate as module
from soracli.pipelines import write_gap as gap_module
from soracli.pipelines.first_frame import cut_note, size_for
from soracli.pipelines.generate import generate
from soracli.pipelines.plan_gap import plan_gap
from soracli.pipelines.plan_generation import plan_generation
from tests.pipelines.generators import DEFAULTS, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "set_threads", lambda count: count)


def picture(name: str, height: int, width: int, seed: int = 0) -> Path:
    path = Path(name)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return path


def frames_of(model: Path, image: Path, prompt: str | None = "a red ball", **more) -> np.ndarray:
    plan = plan_generation(prompt, model=model, image=image, seed=7, **more)
    return np.concatenate(list(module._frames(load_generator(model), plan, plan.jobs[0])))


@pytest.mark.parametrize("prompt", ["a red ball", None])
@pytest.mark.parametrize("count", [2, 10, 23])
def test_what_follows_is_what_extend_makes(model: Path, workspace: Path, prompt: str | None, count: int) -> None:
    own = picture("p.png", 32, 32)
    frames = frames_of(model, own, prompt, seconds=count / 8)
    plan = plan_gap("extend", [own], model=model, prompt=prompt, seed=7, seconds=(count - 1) / 8)
    extended = np.concatenate(list(gap_module.gap_frames(load_generator(model), plan)))
    assert len(frames) == count
    np.testing.assert_array_equal(frames, extended)
    np.testing.assert_array_equal(frames[0], np.asarray(Image.open(own)))


@pytest.mark.parametrize(("size", "asked", "found"), [((40, 80), None, (16, 32)), ((40, 80), (48, 32), (48, 32))])
def test_the_first_frame_is_the_picture_at_the_videos_size(model, workspace, size, asked, found) -> None:
    own = picture("p.png", *size)
    frames = frames_of(model, own, seconds=0.5, size=asked)
    np.testing.assert_array_equal(frames[:1], read_frames(own, size=found))
    assert frames.shape == (4, *found, 3)


def test_a_single_frame_is_the_picture(model: Path, workspace: Path) -> None:
    np.testing.assert_array_equal(
        frames_of(model, picture("p.png", 32, 32), seconds=0.1)[0], np.asarray(Image.open("p.png"))
    )


@given(height=st.integers(8, 4000), width=st.integers(8, 4000))
def test_a_size_of_the_pictures_aspect(model: Path, height: int, width: int) -> None:
    info = picture_info(height, width)
    rows, columns = size_for(info, load_vae(model)[1], (1, 2, 2), DEFAULTS)
    assert rows % 16 == 0 and columns % 16 == 0
    assert (rows <= columns) if height <= width else (rows >= columns)
    if (height, width) == (rows, columns):
        assert cut_note(info, (rows, columns)) == ""


def picture_info(height: int, width: int) -> VideoInfo:
    return VideoInfo(
        path=Path("p.png"), width=width, height=height, fps=1.0, num_frames=1, seconds=1.0, kind="image",
        variable=False, has_alpha=False, damage="",
    )  # fmt: skip


def test_what_is_cut_off_is_told() -> None:
    assert cut_note(picture_info(100, 100), (32, 32)) == "p.png (100x100) is shown at 32x32"
    assert cut_note(picture_info(100, 200), (32, 32)) == (
        "p.png (200x100) is shown at 32x32; 50% of its width is cut off, as much on both sides"
    )
    assert "25% of its height is cut off" in cut_note(picture_info(400, 300), (32, 32))


def test_files_are_named_after_the_picture_and_say_what_it_was(model: Path, workspace: Path) -> None:
    own = picture("My Cat.png", 32, 32)
    given = {"model": model, "seed": 7, "seconds": 0.5, "device": "cpu"}
    paths = generate(None, image=own, count=2, out=Path("made"), **given)
    assert [path.name for path in paths] == ["my-cat-7.mp4", "my-cat-8.mp4"]
    record = read_record(paths[0])
    assert record["image"] == "My Cat.png" and record["prompt"] == "" and record["guidance_scale"] == 1.0
    assert record["image_sha256"] == hashlib.sha256(own.read_bytes()).hexdigest()
    (named,) = generate("a ball", image=own, out=Path("made"), **given)
    assert named.name == "a-ball-7.mp4" and probe_video(named).num_frames == 4


def test_another_picture_or_none_is_another_video(model: Path, workspace: Path) -> None:
    def made(image: Path | None) -> tuple[bool, str]:
        plan = plan_generation("a ball", model=model, image=image, seed=7, seconds=0.5, out=Path("made"))
        return plan.jobs[0].is_made, plan.jobs[0].path.name

    own = picture("p.png", 32, 32)
    generate("a ball", model=model, image=own, seed=7, seconds=0.5, out=Path("made"), device="cpu")
    assert made(own) == (True, "a-ball-7.mp4")
    assert made(None) == (False, "a-ball-7-2.mp4")
    assert made(picture("p.png", 32, 32, seed=1)) == (False, "a-ball-7-2.mp4")


def test_what_cannot_be_set_in_motion(model: Path, workspace: Path) -> None:
    with VideoWriter(Path("v.mkv"), fps=8.0, lossless=True) as writer:
        writer.write(np.zeros((3, 32, 32, 3), np.uint8))
    Path("t.png").write_text("no picture")
    given = {"model": model, "seed": 7}
    with pytest.raises(DataError, match=r"v\.mkv is no picture but a video: sora extend v\.mkv goes on"):
        plan_generation("a ball", image=Path("v.mkv"), **given)
    with pytest.raises(DataError, match=r"t\.png"):
        plan_generation("a ball", image=Path("t.png"), **given)
    with pytest.raises(DataError, match=r"none\.png"):
        plan_generation("a ball", image=Path("none.png"), **given)
    own = picture("p.png", 32, 32)
    with pytest.raises(UsageError, match=r"x\.png is a picture; leave out --image, or name a \.mp4"):
        plan_generation("a ball", image=own, out=Path("x.png"), **given)
    with pytest.raises(UsageError, match="the prompt is empty"):
        plan_generation(" ", image=own, **given)
    with pytest.raises(UsageError, match="no prompt"):
        plan_generation(None, **given)
