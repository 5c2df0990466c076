"""What is measured is what ``sora generate`` makes: the same frames, at the settings it takes without options."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from soracli.core.errors import ArtifactError, NumericsError
from soracli.data.video_read import read_frames
from soracli.data.video_write import VideoWriter
from soracli.models.generator import load_generator, save_dit
from soracli.models.store import load_vae
from soracli.pipelines import generate as generate_module
from soracli.pipelines.evaluate_vae import encode_and_decode
from soracli.pipelines.fill_gap import FADE_SECONDS
from soracli.pipelines.generate import generate
from soracli.pipelines.plan_gap import plan_gap
from soracli.pipelines.video_maker import VideoMaker, open_model, through_vae
from soracli.pipelines.write_gap import write_gap
from tests.models.tiny import DIT
from tests.pipelines.tiny_eval import FPS, SIDE, save_tiny_model


class Recorder:
    """Stands where videos are written, and keeps the frames and what the file would say of itself."""

    made: ClassVar[list[tuple[np.ndarray, dict[str, Any]]]] = []

    def __init__(self, path: Path, *, metadata: dict[str, Any], **given: Any) -> None:
        self.metadata, self.parts, self.num_frames = metadata, [], 0

    def __enter__(self) -> "Recorder":
        return self

    def write(self, frames: np.ndarray) -> None:
        self.parts.append(frames)
        self.num_frames += len(frames)

    def __exit__(self, *error: object) -> None:
        self.made.append((np.concatenate(self.parts), self.metadata))


@pytest.fixture
def model(workspace: Path) -> Path:
    return save_tiny_model(workspace / "model")


def test_frames_and_settings_are_those_of_generate(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_module, "VideoWriter", Recorder)
    generate("a red ball", model=model, seconds=2.1, seed=5, device="cpu")
    generate("a red ball", model=model, seconds=0.1, seed=6, device="cpu")
    maker = open_model(model, torch.device("cpu"))
    for (frames, record), (seed, seconds) in zip(Recorder.made, ((5, 2.1), (6, 0.1)), strict=True):
        ours = maker.make("a red ball", seed, seconds).numpy()
        assert ours.shape == (maker.num_frames(seconds), SIDE, SIDE, 3) and (ours == frames).all()
        assert set(maker.settings) >= {"num_steps", "guidance_scale", "window", "fps", "size", "model", "dtype"}
        assert all(record[name] == value for name, value in maker.settings.items())
    assert (maker.fps, maker.height, maker.width) == (FPS, SIDE, SIDE)
    assert not (maker.make("a red ball", 7, 2.1).numpy() == Recorder.made[0][0]).all()


@pytest.mark.parametrize("num_frames", [1, 4, 5, 6, 9])
def test_any_number_of_frames_goes_through_the_vae(model: Path, num_frames: int) -> None:
    vae, spec = load_vae(model)
    frames = torch.randint(0, 256, (num_frames, SIDE, SIDE, 3), dtype=torch.uint8)
    found = through_vae(vae, spec, frames)
    assert found.shape == frames.shape and found.dtype == torch.uint8
    fitting = num_frames - (num_frames - 1) % 4
    alone = encode_and_decode(vae, frames[:fitting], torch.device("cpu"))[2]
    assert (found[:fitting].int() - alone.int()).abs().max() <= 1


def test_what_is_refused(model: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no dit"):
        open_model(model / "nothing", torch.device("cpu"))
    found = load_generator(model)
    broken = {name: value * float("nan") for name, value in found.dit.state_dict().items()}
    save_dit(model, broken, DIT, found.text, found.tokenizer, found.spec, {"defaults": found.defaults})
    with pytest.raises(NumericsError, match="'a red ball', seed 3"):
        open_model(model, torch.device("cpu")).make("a red ball", 3, 0.5)


def test_verbs_are_those_of_the_commands(workspace: Path) -> None:
    """What goes on and what is edited in memory are the frames that ``sora extend`` and ``sora edit`` write."""
    model = save_tiny_model(workspace / "editor", edits=True)
    maker = open_model(model, torch.device("cpu"))
    frames = torch.randint(0, 256, (11, SIDE, SIDE, 3), dtype=torch.uint8)
    with VideoWriter(Path("own.mkv"), fps=FPS, lossless=True) as writer:
        writer.write(frames.numpy())
    given = {"model": model, "prompt": "a red ball", "seed": 4, "lossless": True}
    plan = plan_gap("extend", [Path("own.mkv")], seconds=0.75, **given)
    extended = read_frames(write_gap(plan, device="cpu"))[11:]
    assert (maker.verbs.go_on(frames, "a red ball", 4, 6).numpy() == extended).all() and len(extended) == 6
    by_plan = np.concatenate(list(maker.verbs.fill_gap(plan, FADE_SECONDS)))
    assert (by_plan[11:] == extended).all()
    assert not (np.concatenate(list(maker.verbs.fill_gap(plan, 0.0)))[11:] == extended).all()
    assert maker.verbs.edit is not None
    edited = read_frames(write_gap(plan_gap("edit", [Path("own.mkv")], **given), device="cpu"))
    assert (maker.verbs.edit(frames, "a red ball", 4).numpy() == edited).all()
    assert open_model(save_tiny_model(workspace / "plain"), torch.device("cpu")).verbs.edit is None


def test_a_sliding_window_is_the_same_model_without_a_sink_and_noise(model: Path) -> None:
    found = load_generator(model)
    defaults = {**found.defaults, "sink": 2, "context_noise": 0.3}
    tokenizer = found.tokenizer

    def rewrite(**changes: Any) -> VideoMaker:
        facts = {"defaults": {**defaults, **changes}}
        save_dit(model, found.dit.state_dict(), DIT, found.text, tokenizer, found.spec, facts)
        return open_model(model, torch.device("cpu"))

    sliding = rewrite().make_sliding("a red ball", 5, 4.0, 3)
    assert not rewrite().make("a red ball", 5, 4.0).equal(sliding)
    assert rewrite(sink=0, context_noise=0.0, window=3).make("a red ball", 5, 4.0).equal(sliding)
