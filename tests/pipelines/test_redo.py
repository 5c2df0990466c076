"""A part of a video made anew: all other frames bit for bit, spans widened to whole latents, ends, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from soracli.cli.app import main
from soracli.core.errors import DataError, UsageError
from soracli.data.video_info import VideoInfo
from soracli.data.video_read import probe_video, read_frames
from soracli.data.video_record import read_record
from soracli.data.video_write import VideoWriter
from soracli.pipelines import write_gap as module
from soracli.pipelines.fit_video import bridge_frames
from soracli.pipelines.lay_out import lay_out
from soracli.pipelines.plan_gap import plan_gap
from soracli.pipelines.scenes import Scene
from soracli.pipelines.write_gap import write_gap
from tests.pipelines.generators import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "set_threads", lambda count: count)


def video(count: int, fps: float = 8.0, **about) -> Path:
    """Noise that no lossy encoder would keep, as it is."""
    frames = np.random.default_rng(0).integers(0, 256, (count, 24, 40, 3), np.uint8)
    with VideoWriter(Path("a.mkv"), fps=fps, lossless=True, metadata={"prompt": "a red ball", **about}) as writer:
        writer.write(frames)
    return Path("a.mkv")


def info_of(count: int, fps: float) -> VideoInfo:
    return VideoInfo(
        path=Path("a.mkv"), width=40, height=24, fps=fps, num_frames=count, seconds=count / fps, kind="video",
        variable=False, has_alpha=False, damage="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fps", "count", "span", "made"),
    [
        (8.0, 30, (1.0, 2.0), (8, 16)),  # two latents
        (8.0, 30, (1.0, 1.9), (8, 16)),  # seven frames become eight
        (8.0, 30, (1.0, 2.2), (7, 19)),  # ten become twelve
        (8.0, 30, (0.0, 1.1), (0, 9)),  # at an end any number
        (8.0, 30, (2.5, None), (20, 30)),
        (8.0, 30, (0.1, 0.3), (1, 5)),
        (25.0, 60, (1.0, 1.2), (21, 35)),  # every third frame is seen: twelve and two blends
    ],
)
def test_all_other_frames_stay(fps, count, span, made, model, workspace) -> None:
    own = video(count, fps)
    plan = plan_gap("redo", [own], model=model, span=span, seed=1, lossless=True)
    out = write_gap(plan, device="cpu")
    before, after = read_frames(own), read_frames(out)
    assert out.name == "a-redone.mkv" and before.shape == after.shape
    assert probe_video(out).fps == pytest.approx(fps, rel=1e-3)
    changed = [index for index in range(count) if not np.array_equal(before[index], after[index])]
    assert changed == list(range(*made))
    record = read_record(out)
    assert (record["verb"], record["prompt"], record["from_frame"]) == ("redo", "a red ball", made[0])
    assert plan.facts()["kept_frames"] + plan.facts()["made_frames"] == count
    asked = (round(span[0] * fps), count if span[1] is None else round(span[1] * fps))
    assert any("are made anew" in note for note in plan.notes) == (asked != made)


@given(
    count=st.integers(2, 200), fps=st.sampled_from([8.0, 12.0, 24.0]), stride=st.integers(1, 3),
    ends=st.tuples(st.floats(0, 25), st.floats(0, 25)).map(sorted),
)  # fmt: skip
def test_every_span_is_covered_or_refused(count: int, fps: float, stride: int, ends: list[float]) -> None:
    first, end = round(ends[0] * fps), max(round(ends[0] * fps) + 1, round(ends[1] * fps))
    try:
        made, stretches = lay_out("redo", [info_of(count, fps)], fps, stride, 4, None, (ends[0], ends[1]))
    except UsageError:
        assert first >= count or end > count or (first == 0 and end == count)
        return
    except DataError:
        assert first > 0 and end < count and bridge_frames(1, stride, 4) > count - 2 - (end - first)
        return
    start = stretches["first"].stop if stretches["first"] else 0
    stop = stretches["last"].start if stretches["last"] else count
    assert stop - start == made and 0 <= start <= first and end <= stop <= count
    assert (start == 0) == (first == 0) and (stop == count) == (end == count)  # never to an end that was not asked for
    if start > 0 and stop < count:
        assert made == bridge_frames(made, stride, 4) and made - (end - first) < max(4 * stride, 5 * stride - 1)
    assert stretches["before"] == stretches["first"] and stretches["after"] == stretches["last"]


def test_what_is_shown_is_what_the_video_was_made_of_there(model, workspace) -> None:
    own = video(40, scenes=[[1.0, "it rains"], [3.0, "it snows"]])

    def shown(*span, **more):
        plan = plan_gap("redo", [own], model=model, span=span, seed=1, **more)
        return plan.prompt, plan.later

    assert shown(0.0, 0.5) == ("a red ball", ())
    assert shown(2.0, 2.5) == ("it rains", ())
    assert shown(2.0, None) == ("it rains", (Scene(1.0, "it snows"),))
    assert shown(0.5, 3.5) == ("a red ball", (Scene(0.5, "it rains"), Scene(2.5, "it snows")))
    assert shown(2.0, None, prompt="two cubes") == ("two cubes", ())
    extended = video_of_a_verb()
    assert plan_gap("redo", [extended], model=model, span=(0.0, 0.5), seed=1).prompt == "it snows"


def video_of_a_verb() -> Path:
    """Its scenes count from where its extension begins, which nobody knows any more."""
    Path("a.mkv").unlink()
    return video(40, scenes=[[1.0, "it snows"]], verb="extend")


def test_spans_that_cannot_be(model, workspace) -> None:
    own = video(16)
    Image.new("RGB", (24, 24)).save("p.png")

    def redo(start, end, path=own):
        plan_gap("redo", [path], model=model, span=(start, end), seed=1)

    for span in ((0.0, 2.0), (0.0, None)):
        with pytest.raises(UsageError, match=r"that is all of a\.mkv, .* sora generate makes another"):
            redo(*span)
    with pytest.raises(UsageError, match=r"a\.mkv ends at 2s; 3s is beyond it"):
        redo(1.0, 3.0)
    with pytest.raises(UsageError, match=r"a\.mkv ends at 2s; 5s is beyond it"):
        redo(5.0, 6.0)
    with pytest.raises(DataError, match=r"has 16 frames, too few to keep some on both sides of 16 that are made anew"):
        redo(0.125, 1.75)
    with pytest.raises(DataError, match=r"p\.png is a picture"):
        redo(0.0, 1.0, Path("p.png"))


def test_the_command(model, workspace, capsys) -> None:
    own = video(24)
    common = ["--model", str(model), "--seed", "1", "--device", "cpu", "--json"]
    assert main(["redo", str(own), "1s:2s", "two cubes", "--lossless", *common]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["path"], said["prompt"], said["from_frame"], said["made_frames"]) == (
        "a-redone.mkv",
        "two cubes",
        8,
        8,
    )
    assert main(["redo", str(own), "2s:1s", *common]) == 2
    assert "START:END '2s:1s' does not end after it begins; did you mean 1s:2s?" in capsys.readouterr().err
    assert main(["redo", str(own), "1s", *common]) == 2
    assert "START:END '1s' is no span; write for example 8s:12s" in capsys.readouterr().err
    assert main(["redo", str(own), "0s:1s", "--prompt-at", "2s", "b", *common]) == 2
    assert "a scene at 2s lies beyond the end at 1s" in capsys.readouterr().err
