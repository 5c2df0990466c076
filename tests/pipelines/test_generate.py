"""Videos from prompts: exact frames for any length, equal for equal seeds, pictures, folders, stops that play."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import soracli
from soracli.core.errors import NumericsError, Stopped, UsageError
from soracli.data.video_read import probe_video, read_frames
from soracli.data.video_record import read_record
from soracli.models.codec import BLOCK_LATENTS, decode_stream
from soracli.models.generator import load_generator
from soracli.pipelines import generate as module
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.generate import generate
from soracli.pipelines.plan_generation import plan_generation
from soracli.pipelines.rollout import roll_out
from tests.pipelines.generators import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "set_threads", lambda count: count)


class Listener:
    """Keeps what it is told; sends this process a signal after so many blocks of frames."""

    def __init__(self, stop_after: int = 0) -> None:
        self.notes: list[str] = []
        self.frames = 0.0
        self.total: float | None = None
        self.figures: dict[str, Any] = {}
        self._stop_after = stop_after

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator["Listener"]:
        self.total = total
        yield self

    def advance(self, count: float = 1, **figures: float | str) -> None:
        self.frames += count
        self.figures = figures
        self._stop_after -= 1
        if self._stop_after == 0:
            os.kill(os.getpid(), signal.SIGINT)


def make(model: Path, prompts: str | list[str] = "a red ball", **given: Any) -> list[Path]:
    return generate(prompts, model=model, device="cpu", **{"seed": 7, "seconds": 1.0, **given})


@pytest.mark.parametrize("frames", [1, 2, 5, 9, 10, 23])
def test_exactly_the_frames_asked_for(model: Path, workspace: Path, frames: int) -> None:
    listener = Listener()
    (path,) = make(model, seconds=frames / 8, reporter=listener)
    info = probe_video(path)
    assert (info.num_frames, info.fps, info.height, info.width) == (frames, 8.0, 32, 32)
    assert listener.frames == listener.total == frames
    assert str(listener.figures["speed"]).endswith(" seconds of video a second")
    assert [file.name for file in workspace.iterdir()] == ["a-red-ball-7.mp4"]


def test_a_seed_gives_the_same_frames_again(model: Path, workspace: Path) -> None:
    first, again, other = (
        make(model, out=Path(name), seed=seed)[0] for name, seed in (("a.mp4", 7), ("b.mp4", 7), ("c.mp4", 8))
    )
    frames = [read_frames(path) for path in (first, again, other)]
    assert np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[0], frames[2])
    counted = make(model, count=2, out=Path("d.mp4"))
    assert [path.name for path in counted] == ["d-1.mp4", "d-2.mp4"]
    assert all(
        np.array_equal(read_frames(path), known) for path, known in zip(counted, (frames[0], frames[2]), strict=True)
    )


def test_frames_are_the_decoded_latents(model: Path, workspace: Path) -> None:
    """Decoding block by block changes nothing; the excess at the end is dropped and nothing else."""
    plan = plan_generation("a red ball", model=model, seed=7, seconds=3.0)
    generator = load_generator(model)
    blocks = list(module._frames(generator, plan, plan.jobs[0]))
    assert max(map(len, blocks)) <= BLOCK_LATENTS * 4  # never more than the VAE's block at a time
    parts = gap_blocks(generator.spec, always("a red ball"), plan.options, fps=8.0, num_latents=7)
    latents = torch.cat(list(roll_out(generator, parts, latent_size=(4, 4), fps=8.0, seed=7, options=plan.options)), 1)
    whole = torch.cat(list(decode_stream(generator.vae, generator.spec, [latents], generator.device))).numpy()
    together = np.concatenate(blocks)
    assert len(together) == 24 and len(whole) == 25
    assert np.abs(together.astype(int) - whole[:24]).max() <= 1


def test_the_file_says_what_made_it(model: Path, workspace: Path) -> None:
    (path,) = make(model, 'a "red" ball = {ü}; # \\ x', guidance_scale=2.0)
    record = read_record(path)
    assert record["prompt"] == 'a "red" ball = {ü}; # \\ x'
    assert (record["seed"], record["num_frames"], record["fps"], record["size"]) == (7, 8, 8.0, "32x32")
    assert (record["num_steps"], record["guidance_scale"], record["dtype"]) == (2, 2.0, "float32")
    assert record["model"] == json.loads((model / "dit/config.json").read_text())["hash"]
    assert record["sora"] == soracli.__version__


def test_pictures(model: Path, workspace: Path) -> None:
    paths = make(model, out=Path("x.png"), count=2, seconds=None)
    assert [path.name for path in paths] == ["x-1.png", "x-2.png"]
    with Image.open(paths[1]) as picture:
        assert picture.size == (32, 32)
        assert json.loads(picture.text["comment"])["seed"] == 8
    plan = plan_generation("a red ball", model=model, seed=7, out=Path("y.png"))
    (frames,) = module._frames(load_generator(model), plan, plan.jobs[0])
    with Image.open(paths[0]) as picture:
        assert np.array_equal(np.asarray(picture)[None], frames)


def test_a_contact_sheet(model: Path, workspace: Path) -> None:
    listener = Listener()
    (path,) = make(model, seconds=1.5, contact_sheet=True, reporter=listener)
    sheet = workspace / "a-red-ball-7-contact-sheet.png"
    assert path.is_file() and f"contact sheet: {sheet.name}" in listener.notes
    with Image.open(sheet) as picture:
        assert picture.width == 8 * 132 + 4


def test_a_grid_is_made_of_the_finished_files(model: Path, workspace: Path) -> None:
    listener = Listener()
    paths = make(model, count=3, out=Path("x.mkv"), grid=True, reporter=listener)
    assert [path.name for path in paths] == ["x-1.mkv", "x-2.mkv", "x-3.mkv"]
    info, grid = probe_video(Path("x-grid.mkv")), read_frames(Path("x-grid.mkv"))
    assert "grid: x-grid.mkv" in listener.notes and read_record(Path("x-grid.mkv"))["grid"] == [p.name for p in paths]
    assert (info.num_frames, info.fps, info.height, info.width) == (8, 8.0, 68, 68)
    for (top, left), path in zip(((0, 0), (0, 36), (36, 0)), paths, strict=True):
        loss = grid[:, top : top + 32, left : left + 32].astype(int) - read_frames(path)
        assert np.abs(loss).mean() < 12  # noise that was encoded twice
    with pytest.raises(UsageError, match=r"x-grid\.mkv exists; give another name, or --overwrite"):
        for path in paths:
            path.unlink()
        make(model, count=3, out=Path("x.mkv"), grid=True)


def test_a_grid_in_a_folder_is_made_once(model: Path, workspace: Path) -> None:
    def grid_of(*prompts: str) -> tuple[str, bool]:
        plan = plan_generation(prompts, model=model, seed=7, seconds=1.0, out=Path("made"), grid=True)
        return plan.grid.path.name, plan.grid.is_made

    prompts = ["a ball", "two cubes"]
    make(model, prompts, out=Path("made"), grid=True)
    assert grid_of(*prompts) == ("a-ball-7-grid.mp4", True)
    (workspace / "made/a-ball-7-grid.mp4").unlink()
    listener = Listener()
    make(model, prompts, out=Path("made"), grid=True, reporter=listener)
    assert listener.notes == ["2 of 2 are there already", f"grid: {Path('made/a-ball-7-grid.mp4')}"]
    assert grid_of("a ball", "a cone") == ("a-ball-7-grid-2.mp4", False)
    for count in (1, 101):
        with pytest.raises(UsageError, match=f"--grid puts 2 to 100 videos side by side, here are {count}"):
            plan_generation("a ball", model=model, seed=7, count=count, grid=True)


def test_pictures_of_a_grid(model: Path, workspace: Path) -> None:
    paths = make(model, out=Path("x.png"), count=2, seconds=None, grid=True)
    with Image.open("x-grid.png") as grid, Image.open(paths[1]) as second:
        assert grid.size == (68, 32) and np.array_equal(np.asarray(grid)[:, 36:], np.asarray(second))


def test_a_stop_within_the_grid(model: Path, workspace: Path) -> None:
    class AtTheGrid(Listener):
        def task(self, label: str, total: float | None, unit: str) -> Any:
            self._stop_after = 1 if label == "grid" else 0
            return super().task(label, total, unit)

    with pytest.raises(Stopped, match=r"SIGINT: all 2 files are done; 8 of 12 frames of the grid are in x-grid\.part"):
        make(model, seconds=1.5, count=2, out=Path("x.mkv"), grid=True, reporter=AtTheGrid())
    assert not Path("x-grid.mkv").exists() and Path("x-2.mkv").exists()


def test_what_is_made_is_shown(model: Path, workspace: Path) -> None:
    shown = []

    class Watcher:
        def show(self, path: Path, frames: Any, fps: float, num_frames: int) -> None:
            shown.append((path, len(frames), fps, num_frames, path.exists()))

    make(model, seconds=3.0, out=Path("x.mp4"), preview=Watcher())
    assert {(path.name, fps, exists) for path, _, fps, _, exists in shown} == {("x.part.mp4", 8.0, True)}
    counts = [count for _, count, _, _, _ in shown]
    assert [number for *_, number, _ in shown] == np.cumsum(counts).tolist() and sum(counts) == 24


def test_a_stop_keeps_what_plays(model: Path, workspace: Path) -> None:
    for name in ("v.mp4", "w.webm"):
        with pytest.raises(Stopped) as stop:
            make(model, seconds=60.0, out=Path(name), reporter=Listener(stop_after=2))
        part = Path(name).with_suffix(f".part{Path(name).suffix}")
        assert str(stop.value) == f"SIGINT: 29 of 480 frames are in {part}, which plays; the seed is 7"
        assert not Path(name).exists()
        assert probe_video(part).num_frames == 29
    (path,) = make(model, seconds=1.0, out=Path("v.mp4"))
    assert probe_video(path).num_frames == 8 and not Path("v.part.mp4").exists()


def test_a_folder_is_filled_once(model: Path, workspace: Path) -> None:
    prompts = ["a ball", "two cubes"]
    with pytest.raises(Stopped, match=r"^SIGINT: no frame was made; 1 of 2 files are done; the seed is 7$"):
        make(model, prompts, out=Path("made"), reporter=Listener(stop_after=1))
    first = (workspace / "made/a-ball-7.mp4").stat().st_mtime_ns
    listener = Listener()
    paths = make(model, prompts, out=Path("made"), reporter=listener)
    assert [path.name for path in paths] == ["a-ball-7.mp4", "two-cubes-7.mp4"]
    assert listener.notes == ["1 of 2 are there already"] and listener.total == 8
    assert paths[0].stat().st_mtime_ns == first
    assert make(model, prompts, out=Path("made")) == paths
    assert make(model, "a ball", out=Path("made"), guidance_scale=1.0)[0].name == "a-ball-7-2.mp4"


def test_a_prompt_that_is_too_long_is_cut(model: Path, workspace: Path) -> None:
    listener = Listener()
    make(model, "red " * 25_000, seconds=1 / 8, reporter=listener)
    assert len(listener.notes) == 1
    assert listener.notes[0].startswith("the model reads 96 tokens of a prompt; what follows '... ")


def test_numbers_that_are_not_finite(tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        generator = load_generator(*arguments)
        generator.dit.final.bias.data[0] = torch.inf
        return generator

    monkeypatch.setattr(module, "load_generator", broken)
    with pytest.raises(NumericsError, match="not finite: try --dtype float32"):
        make(write_model(tmp_path / "model"))
    assert not list(workspace.glob("*.mp4"))


def test_existing_files_and_other_number_types(model: Path, workspace: Path) -> None:
    Path("x.mp4").write_text("precious")
    with pytest.raises(UsageError, match="exists; give another name, or --overwrite"):
        make(model, out=Path("x.mp4"))
    assert Path("x.mp4").read_text() == "precious"
    make(model, out=Path("x.mp4"), overwrite=True, dtype="bfloat16")
    assert read_record(Path("x.mp4"))["dtype"] == "bfloat16"
