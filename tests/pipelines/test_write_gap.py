"""Videos made longer, connected and looped: the user's frames untouched, lengths, refusals, stops that play."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soracli.cli.app import main
from soracli.core.errors import DataError, Stopped, UsageError
from soracli.core.progress import SilentReporter
from soracli.data.video_read import probe_video, read_frames
from soracli.data.video_record import read_record
from soracli.data.video_write import VideoWriter
from soracli.models.generator import load_generator
from soracli.pipelines import write_gap as module
from soracli.pipelines.lay_out import Stretch
from soracli.pipelines.plan_gap import plan_gap
from soracli.pipelines.write_gap import read_given, write_gap
from tests.pipelines.generators import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "set_threads", lambda count: count)


def video(path: Path, count: int, *, fps: float = 8.0, size: tuple[int, int] = (24, 40), seed: int = 0) -> Path:
    """Noise that no lossy encoder would keep, as it is, with a record of what made it."""
    frames = np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)
    with VideoWriter(path, fps=fps, lossless=True, metadata={"prompt": "a red ball"}) as writer:
        writer.write(frames)
    return path


def make(verb, videos, model, **given):
    plan = plan_gap(verb, videos, model=model, **{"seed": 1, "lossless": True, **given})
    return plan, write_gap(plan, device="cpu")


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("fps", [8.0, 25.0])
@pytest.mark.parametrize("verb", ["extend", "extend backward"])
def test_longer_by_what_was_asked_and_the_users_frames_stay(verb, fps, count, model, workspace):
    own = video(workspace / "a.mkv", count, fps=fps)
    plan, out = make(verb, [own], model, seconds=1.0)
    info, frames = probe_video(out), read_frames(out)
    made = round(fps)
    assert (info.num_frames, info.height, info.width) == (count + made, 24, 40)
    assert info.fps == pytest.approx(fps, rel=1e-3)
    kept = frames[:count] if verb == "extend" else frames[made:]
    np.testing.assert_array_equal(kept, read_frames(own))
    record = read_record(out)
    assert (record["verb"], record["prompt"], record["seed"]) == (verb, "a red ball", 1)
    assert out.name == ("a-extended.mkv" if verb == "extend" else "a-extended-backward.mkv")
    assert plan.facts()["made_frames"] == made and plan.facts()["kept_frames"] == count


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize(("count", "most", "shown"), [(30, 5, 9), (30, 2, 5), (7, 5, 1), (1, 5, 1), (13, 5, 5)])
def test_what_a_model_is_shown_of_a_stretch(at_end, count, most, shown, model, workspace):
    own = video(workspace / "a.mkv", count, fps=25.0, size=(32, 48))
    plan = plan_gap("extend", [own], model=model, seed=1)
    assert plan.fitted.stride == 3 and plan.fitted.size == (32, 48)
    whole = Stretch(plan.first.info, 0, count)
    given = read_given(whole, plan, load_generator(model), most, at_end=at_end)
    frames = read_frames(own)
    last = count - 1
    places = [last - 3 * n for n in reversed(range(shown))] if at_end else [3 * n for n in range(shown)]
    np.testing.assert_array_equal(given.frames, frames[places])
    np.testing.assert_array_equal(given.edge, frames[last if at_end else 0])


def test_the_same_seed_makes_the_same_and_another_another(model, workspace):
    own = video(workspace / "a.mkv", 5)
    made = [read_frames(make("extend", [own], model, seed=s, out=Path(f"{k}.mkv"))[1]) for k, s in enumerate((1, 1, 2))]
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_connected_videos_have_the_first_ones_size_and_rate(model, workspace):
    one, two = video(workspace / "a.mkv", 7), video(workspace / "b.mkv", 12, fps=16.0, size=(30, 30), seed=1)
    plan, out = make("connect", [one, two], model, seconds=1.0)
    frames = read_frames(out)
    assert plan.num_frames == 8 and len(frames) == 7 + 8 + 6 and frames.shape[1:3] == (24, 40)
    np.testing.assert_array_equal(frames[:7], read_frames(one))
    np.testing.assert_array_equal(frames[15:], read_frames(two, fps=8.0, size=(24, 40)))
    assert any("b.mkv (30x30, 16 frames a second) is brought to 40x24 and 8" in note for note in plan.notes)
    same = video(workspace / "c.mkv", 4, seed=2)
    plan, out = make("connect", [one, same], model, seconds=0.9, out=Path("other.mkv"))
    assert plan.num_frames == 8 and any("1s are made" in note for note in plan.notes)
    np.testing.assert_array_equal(read_frames(out)[15:], read_frames(same))


def test_a_loop_keeps_its_length_or_gets_a_bridge(model, workspace):
    own = video(workspace / "a.mkv", 40)
    plan, out = make("loop", [own], model)
    frames = read_frames(out)
    assert len(frames) == 40 and plan.num_frames == 16
    np.testing.assert_array_equal(frames[:24], read_frames(own)[:24])
    assert not np.array_equal(frames[24:], read_frames(own)[24:])
    plan, out = make("loop", [own], model, seconds=1.0, out=Path("bridge.mkv"))
    assert len(read_frames(out)) == 48
    np.testing.assert_array_equal(read_frames(out)[:40], read_frames(own))


def test_a_picture_is_set_in_motion(model, workspace):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)).save("p.png")
    out = make("extend", [Path("p.png")], model, prompt="a red ball", seconds=1.0)[1]
    frames = read_frames(out)
    assert len(frames) == 9 and probe_video(out).fps == 8.0
    np.testing.assert_array_equal(frames[0], np.asarray(Image.open("p.png")))


def test_what_cannot_be_is_said_before_anything_is_made(model, workspace):
    own = video(workspace / "a.mkv", 7)
    Image.new("RGB", (24, 24)).save("p.png")
    with pytest.raises(DataError, match=r"p\.png is a picture: sora extend p\.png"):
        make("loop", [Path("p.png")], model)
    with pytest.raises(DataError, match=r"p\.png is a picture"):
        make("connect", [own, Path("p.png")], model)
    with pytest.raises(DataError, match=r"a\.mkv has 7 frames, too few to make 4 of them anew: --seconds 2s"):
        make("loop", [own], model)
    with pytest.raises(UsageError, match=r"exists; give another name"):
        make("extend", [own], model, out=own)
    with pytest.raises(UsageError, match="is the video itself"):
        make("extend", [own], model, out=own, overwrite=True)
    with pytest.raises(UsageError, match=r"only a \.mkv keeps every pixel: name b\.mkv"):
        make("extend", [own], model, out=Path("b.mp4"))
    with pytest.raises(UsageError, match="--steps must be"):
        make("extend", [own], model, num_steps=0)
    assert sorted(path.name for path in workspace.iterdir()) == ["a.mkv", "p.png"]


def test_nothing_to_steer_by_is_not_paid_for(model, workspace):
    Image.new("RGB", (24, 24)).save("p.png")
    plan = plan_gap("extend", [Path("p.png")], model=model, seed=1, guidance_scale=5.0)
    assert plan.prompt == "" and plan.options.guidance_scale == 1
    assert (
        plan_gap("extend", [Path("p.png")], model=model, prompt="a ball", guidance_scale=5.0).options.guidance_scale
        == 5
    )


def test_a_stop_leaves_what_plays(model, workspace):
    own = video(workspace / "a.mkv", 20)

    plan = plan_gap("extend", [own], model=model, seed=4, lossless=True)
    told = iter([True])

    class After(SilentReporter):
        """Asks to stop when the first frames were written."""

        def task(self, label, total, unit):
            inner = super().task(label, total, unit)
            if next(told, False):
                os.kill(os.getpid(), signal.SIGINT)
            return inner

    with pytest.raises(Stopped, match=r"16 of 52 frames are in a-extended\.part\.mkv, which plays; the seed is 4"):
        write_gap(plan, device="cpu", reporter=After())
    assert not plan.out.exists()
    np.testing.assert_array_equal(read_frames(Path("a-extended.part.mkv"))[:16], read_frames(own)[:16])


def test_the_command(model, workspace, capsys, monkeypatch):
    own = video(workspace / "a.mkv", 9)
    assert (
        main(["extend", str(own), "--seconds", "1s", "--model", str(model), "--seed", "1", "--dry-run", "--json"]) == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert facts["made_frames"] == 8 and facts["model_size"] == "48x32" and not Path("a-extended.mp4").exists()
    common = ["--model", str(model), "--seed", "1", "--device", "cpu", "--json"]
    for words, name, count in (
        (["extend", "a.mkv", "two cubes", "--seconds", "1s"], "a-extended.mp4", 17),
        (["extend", "a.mkv", "--backward", "--seconds", "1s"], "a-extended-backward.mp4", 17),
        (["connect", "a.mkv", "a.mkv", "--seconds", "1s"], "a-connected.mp4", 26),
        (["loop", "a.mkv"], "a-loop.mp4", 9),
    ):
        assert main([*words, *common]) == 0
        assert json.loads(capsys.readouterr().out)["path"] == name
        assert probe_video(Path(name)).num_frames == count
    assert read_record(Path("a-extended.mp4"))["prompt"] == "two cubes"


def test_planning_loads_no_torch(model, workspace):
    own = video(workspace / "a.mkv", 9)
    script = (
        "import sys; from pathlib import Path; from soracli.pipelines.plan_gap import plan_gap\n"
        f"plan_gap('extend', [Path({str(own)!r})], model=Path({str(model)!r}))\n"
        "assert not {'torch', 'torchvision', 'timm', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("editor"), edits=True)


@pytest.mark.parametrize("count", [1, 2, 12])
@pytest.mark.parametrize("fps", [8.0, 25.0])
def test_an_edit_keeps_size_rate_and_length(count, fps, editor, model, workspace):
    own = video(workspace / "a.mkv", count, fps=fps)
    for number, (folder, strength) in enumerate(((editor, None), (model, 0.5), (model, 0.0), (model, 1.0))):
        given = {"prompt": "two cubes", "strength": strength, "out": Path(f"{number}.mkv")}
        plan, out = make("edit", [own], folder, **given)
        info = probe_video(out)
        assert (info.num_frames, info.height, info.width) == (count, 24, 40) and info.fps == pytest.approx(
            fps, rel=1e-3
        )
        assert read_record(out).get("strength") == strength == plan.strength
        assert not np.array_equal(read_frames(out), read_frames(own))


def test_a_picture_is_edited_to_a_picture(editor, workspace):
    Image.new("RGB", (24, 16), (90, 120, 40)).save("p.png")
    plan = plan_gap("edit", [Path("p.png")], model=editor, seed=1, prompt="make it blue")
    assert plan.out == Path("p-edited.png")
    assert read_frames(write_gap(plan, device="cpu")).shape == (1, 16, 24, 3)


def test_edits_that_cannot_be(editor, model, workspace, capsys):
    own = video(workspace / "a.mkv", 3)
    with pytest.raises(UsageError, match=r"was not trained to follow instructions: --strength 0\.6 makes"):
        make("edit", [own], model, prompt="make it blue")
    with pytest.raises(UsageError, match=r"--strength must be 0 \(as it is\) to 1"):
        make("edit", [own], model, prompt="a ball", strength=1.5)
    with pytest.raises(UsageError, match="an edit needs words"):
        make("edit", [own], editor, prompt=" ")
    common = ["--model", str(model), "--seed", "1", "--device", "cpu", "--json"]
    assert main(["edit", "a.mkv", "two cubes", "--strength", "0.4", *common]) == 0
    assert json.loads(capsys.readouterr().out)["strength"] == 0.4 and probe_video(Path("a-edited.mp4")).num_frames == 3
