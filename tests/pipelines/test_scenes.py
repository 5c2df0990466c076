"""Prompts over time: what is read of options, storyboards and records, and frames before and after a scene begins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from soracli.cli.app import main
from soracli.core.errors import RecipeError, UsageError
from soracli.data.video_read import read_frames
from soracli.data.video_record import read_record
from soracli.data.video_write import VideoWriter
from soracli.models.generator import load_generator
from soracli.pipelines import fill_gap as fill_module
from soracli.pipelines import generate as module
from soracli.pipelines import write_gap as gap_module
from soracli.pipelines.blocks import gap_blocks
from soracli.pipelines.generate import generate
from soracli.pipelines.plan_gap import plan_gap
from soracli.pipelines.plan_generation import plan_generation
from soracli.pipelines.sampling_choice import RECORDED_CHARACTERS
from soracli.pipelines.scenes import (
    Scene,
    check_lengths,
    opening,
    read_scenes,
    read_storyboard,
    recorded_scenes,
    scenes_record,
    shown_at,
)
from tests.pipelines.generators import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for pipeline in (module, gap_module):
        monkeypatch.setattr(pipeline, "set_threads", lambda count: count)


def board(text: str) -> Path:
    path = Path("story.toml")
    path.write_text(text)
    return path


def frames_of(model: Path, *later: Scene, prompt: str = "a red ball", **more) -> np.ndarray:
    plan = plan_generation(prompt, model=model, later=later, seed=7, seconds=4.0, **more)
    return np.concatenate(list(module._frames(load_generator(model), plan, plan.jobs[0])))


@given(times=st.lists(st.integers(1, 1000), unique=True, max_size=9).map(sorted), second=st.floats(0, 110))
def test_what_is_shown_is_the_last_scene_that_began(times: list[int], second: float) -> None:
    scenes = [Scene(0.0, "0"), *(Scene(time / 10, str(time)) for time in times)]
    began = [scene for scene in scenes if scene.at <= second]
    assert shown_at(scenes)(second) == began[-1].prompt


def test_options_and_storyboards_say_the_same(workspace: Path) -> None:
    path = board(
        '[[scene]]\nat = 0\nprompt = "a"\n[[scene]]\nat = "1m20s"\nprompt = " b "\n[[scene]]\nat = 90.5\nprompt = "c"'
    )
    scenes = (Scene(0.0, "a"), Scene(80.0, "b"), Scene(90.5, "c"))
    assert read_scenes((), path) == scenes == read_scenes([("0s", "a"), ("80", "b"), ("1m30.5s", " c")], None)
    assert opening(scenes, "") == ("a", scenes[1:])
    assert opening(scenes[1:], "PROMPT") == (None, scenes[1:]) == opening(scenes[1:], "", may_be_absent=True)
    assert opening((), "") == (None, ())


SCENE = '[[scene]]\nat = 0\nprompt = "a"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[scene]]\nat = "0s"\npromt = "a"', "story.toml:3: unknown key 'scene[0].promt'; did you mean 'scene[0]."),
        (SCENE.replace("scene", "scnee"), "story.toml:1: unknown key 'scnee'; did you mean 'scene'?"),
        ("fps = 3\n" + SCENE, "story.toml:1: unknown key 'fps'; valid keys here: scene"),
        ("", "missing key 'scene'"),
        (SCENE + '[[scene]]\nat = "20q"\nprompt = "b"', "story.toml:5: 'scene[1].at': the time '20q' is no duration; "),
        ('[[scene]]\nat = "1:30"\nprompt = "b"', "story.toml:2: 'scene[0].at': the time '1:30' is no duration; "),
        ("[[scene]]\nat = -1\nprompt = 'b'", "story.toml:2: 'scene[0].at': the time must be 0 or later, got -1"),
        ("[[scene]]\nat = nan\nprompt = 'b'", "story.toml:2: 'scene[0].at'"),
        ("[[scene]]\nat = true\nprompt = 'b'", "story.toml:2: 'scene[0].at' must be text in quotes or a number, got "),
        ('[[scene]]\nat = 0\nprompt = " "', "story.toml:3: 'scene[0].prompt': the prompt is empty"),
        ("[[scene]]\nat = 0\nprompt = 3", "story.toml:3: 'scene[0].prompt' must be text in quotes, got 3"),
        ('[[scene]]\nprompt = "a"', "story.toml:1: missing key 'scene[0].at'"),
        ("[scene]\nat = 0", "story.toml:1: 'scene' must be"),
        ("at = 0\n[[scene", "story.toml:2: not valid TOML"),
    ],
)  # fmt: skip
def test_a_storyboard_that_cannot_be_read(workspace: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        read_storyboard(board(text))
    assert any(said in problem for problem in error.value.problems)


def test_files_that_are_not_there(workspace: Path) -> None:
    Path("folder").mkdir()
    Path("bytes.toml").write_bytes(b"\xff")
    for name, said in (
        ("none.toml", "none.toml: no such storyboard file"),
        ("folder", "folder: is a folder, not a storyboard file"),
        ("bytes.toml", "not UTF-8"),
    ):
        with pytest.raises(RecipeError) as error:
            read_storyboard(Path(name))
        assert said in str(error.value) and "recipe" not in str(error.value)


def test_times_that_cannot_be(workspace: Path) -> None:
    two = '[[scene]]\nat = "{}"\nprompt = "a"\n\n[[scene]]\nat = "{}"\nprompt = "b"'
    with pytest.raises(UsageError, match=r"^story\.toml:6: 10s comes after 20s; write scenes in the order of time$"):
        read_storyboard(board(two.format("20s", "10s")))
    with pytest.raises(UsageError, match=r"^story\.toml:6: a scene at 20s is there already; leave one out$"):
        read_storyboard(board(two.format("20s", "20.0")))
    with pytest.raises(UsageError, match=r"^--prompt-at 10s: 10s comes after 20s"):
        read_scenes([("20s", "a"), ("10s", "b")], None)
    with pytest.raises(UsageError, match=r"^--prompt-at 'x' is no duration"):
        read_scenes([("x", "a")], None)
    with pytest.raises(UsageError, match=r"story\.toml holds no scene: write \[\[scene\]\]"):
        read_storyboard(board("scene = []"))
    with pytest.raises(UsageError, match="the prompt is empty"):
        read_scenes([("1s", "")], None)
    with pytest.raises(UsageError, match=r"both --prompt-at and --storyboard were given"):
        read_scenes([("1s", "a")], Path("story.toml"))
    with pytest.raises(UsageError, match=r"PROMPT and a scene at 0s both say what is shown first"):
        opening([Scene(0.0, "a")], "PROMPT")
    with pytest.raises(UsageError, match=r"the first scene is at 20s: say with PROMPT, or a scene at 0s"):
        opening([Scene(20.0, "a")], "")


def test_scenes_are_within_and_long_enough() -> None:
    check_lengths([Scene(0.5, "a"), Scene(1.0, "b"), Scene(3.5, "c")], 4.0, 0.5)
    for times, said in (
        ([4.0], r"a scene at 4s lies beyond the end at 4s; --seconds"),
        ([1.0, 20.0], r"a scene at 20s lies beyond the end at 4s"),
        ([3.6], r"a scene at 3\.6s is too near to the end at 4s: this model makes 0\.5s at once"),
        ([1.0, 1.4], r"a scene at 1\.4s is too near to that at 1s"),
        ([0.3], r"a scene at 0\.3s is too near to that at 0s"),
    ):
        with pytest.raises(UsageError, match=said):
            check_lengths([Scene(time, "x") for time in times], 4.0, 0.5)


@given(st.lists(st.text(max_size=3000), max_size=8))
def test_records_are_read_as_they_were_written_and_short_enough(prompts: list[str]) -> None:
    later = [Scene(1.0 + number, prompt) for number, prompt in enumerate(prompts)]
    record = json.loads(json.dumps({"prompt": "a", **scenes_record(later)}))
    found = recorded_scenes(record)
    assert list(found) == [Scene(0.0, "a"), *later][: len(found)]
    is_whole = len(found) == 1 + len(later)
    assert is_whole == ("scenes_sha256" not in record)
    assert is_whole or sum(len(prompt) + 20 for prompt in prompts) > RECORDED_CHARACTERS
    assert sum(len(scene.prompt) for scene in found) <= RECORDED_CHARACTERS + 1


def test_many_scenes_are_told_apart_by_their_hash() -> None:
    many = [Scene(1.0 + number, "x" * 300) for number in range(40)]
    other = [*many[:-1], Scene(many[-1].at, "y" * 300)]
    one, two = scenes_record(many), scenes_record(other)
    assert one["scenes"] == two["scenes"] and one["scenes_sha256"] != two["scenes_sha256"]


@pytest.mark.parametrize("record", [{}, {"prompt": 3}, {"prompt": "a", "scenes": 3}, {"prompt": "a", "scenes": [[1]]},
    {"prompt": "a", "scenes": [["1", "b"]]}, {"prompt": "a", "scenes": [[2.0, "b"], [1.0, "c"]]},
    {"prompt": "a", "scenes": [[float("nan"), "b"]]}])  # fmt: skip
def test_foreign_records_are_no_scenes(record: dict) -> None:
    assert recorded_scenes(record) == ()


def test_frames_before_a_scene_are_those_without_it(model: Path) -> None:
    """Blocks are 3, 2, 2, 2 latents: 9, 8, 8 and 7 frames. A scene at 17 frames begins with a block."""
    plain = frames_of(model)
    cut = frames_of(model, Scene(17 / 8, "two cubes"))
    assert len(plain) == len(cut) == 32
    np.testing.assert_array_equal(cut[:17], plain[:17])
    assert (cut[17:] != plain[17:]).mean() > 0.3
    np.testing.assert_array_equal(frames_of(model, Scene(17 / 8, "a red ball")), plain)


def test_a_scene_within_a_block_begins_there(model: Path) -> None:
    """The block of frames 9 to 16 is made in two parts."""
    found = [frames_of(model, Scene(13 / 8, words)) for words in ("two cubes", "a green cone")]
    np.testing.assert_array_equal(found[0][:13], found[1][:13])
    assert (found[0][13:17] != found[1][13:17]).mean() > 0.3


def test_scenes_after_a_picture_count_from_the_beginning_of_the_video(model: Path, workspace: Path) -> None:
    """Latents after the first frame hold frames 1 to 4, 5 to 8 and so on."""
    Image.new("RGB", (32, 32), (90, 20, 30)).save("p.png")
    found = [frames_of(model, Scene(9 / 8, words), image=Path("p.png")) for words in ("two cubes", "a green cone")]
    np.testing.assert_array_equal(found[0][:9], found[1][:9])
    assert (found[0][9:13] != found[1][9:13]).mean() > 0.3


def own_video(count: int) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (count, 24, 40, 3), np.uint8)
    about = {"prompt": "a red ball", "scenes": [[0.5, "a blue cone"]]}
    with VideoWriter(Path("a.mkv"), fps=8.0, lossless=True, metadata=about) as writer:
        writer.write(frames)
    return Path("a.mkv")


def test_scenes_of_what_is_made_behind_a_video(model: Path, workspace: Path) -> None:
    """They count from the first frame that is made, four frames a latent."""
    own = own_video(9)

    def made(words: str) -> np.ndarray:
        plan = plan_gap("extend", [own], model=model, later=[Scene(1.0, words)], seed=1, seconds=14 / 8)
        return np.concatenate(list(gap_module.gap_frames(load_generator(model), plan)))[9:]

    differs = [(a != b).mean() > 0.3 for a, b in zip(made("two cubes"), made("a green cone"), strict=True)]
    assert differs == [False] * 8 + [True] * 6


def test_scenes_of_what_is_made_in_front_of_a_video(model, workspace, monkeypatch) -> None:
    """17 frames are made for 14, so what is seen begins with the fourth; frame 8 of it lies between 10.5 and 14.5."""
    seen = []
    monkeypatch.setattr(fill_module, "gap_blocks", lambda *args, **more: seen.extend(gap_blocks(*args, **more)) or seen)
    plan = plan_gap("extend backward", [own_video(9)], model=model, later=[Scene(1.0, "x")], seed=1, seconds=14 / 8)
    assert len(np.concatenate(list(gap_module.gap_frames(load_generator(model), plan)))) == 14 + 9
    shown = {float(second): block.prompt for block in seen if block.given is None for second in block.seconds}
    assert {second * 8: words for second, words in shown.items()} == {
        0.0: "a red ball", 2.5: "a red ball", 6.5: "a red ball", 10.5: "a red ball", 14.5: "x",
    }  # fmt: skip


def test_what_goes_on_is_the_last_scene_or_the_first(model: Path, workspace: Path) -> None:
    own = own_video(9)
    assert plan_gap("extend", [own], model=model, seed=1).prompt == "a blue cone"
    assert plan_gap("extend backward", [own], model=model, seed=1).prompt == "a red ball"
    plan = plan_gap("extend", [own], model=model, seed=1, later=[Scene(1.0, "it rains")])
    assert plan.record["scenes"] == [[1.0, "it rains"]] == plan.facts()["later"]
    with pytest.raises(UsageError, match="lies beyond the end at 4s"):
        plan_gap("extend", [own], model=model, seed=1, later=[Scene(4.0, "it rains")])


def test_another_storyboard_is_another_video(model: Path, workspace: Path) -> None:
    def named(*later: Scene) -> tuple[bool, str]:
        plan = plan_generation("a ball", model=model, later=later, seed=7, seconds=2.0, out=Path("made"))
        return plan.jobs[0].is_made, plan.jobs[0].path.name

    rain, snow = Scene(1.0, "it rains"), Scene(1.0, "it snows")
    (path,) = generate("a ball", model=model, later=[rain], seed=7, seconds=2.0, out=Path("made"), device="cpu")
    assert read_record(path)["scenes"] == [[1.0, "it rains"]]
    assert named(rain) == (True, "a-ball-7.mp4")
    assert named(snow) == named() == named(Scene(1.5, "it rains")) == (False, "a-ball-7-2.mp4")


def test_a_picture_has_no_scenes(model: Path, workspace: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.png is a picture; leave out later scenes"):
        plan_generation("a ball", model=model, later=[Scene(1.0, "b")], out=Path("x.png"))


def test_the_commands(model: Path, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--model", str(model), "--seed", "1", "--device", "cpu", "--json"]
    words = ["generate", "a red ball", "--seconds", "2s", "-o", "one.mp4"]
    assert main([*words, "--prompt-at", "1s", "two cubes", "--prompt-at", "1.5s", "a cone", *common]) == 0
    scenes = (("0", "a red ball"), ("1.0", "two cubes"), ('"1.5s"', "a cone"))
    board("\n".join(f'[[scene]]\nat = {at}\nprompt = "{words}"' for at, words in scenes))
    assert main(["generate", "--storyboard", "story.toml", "--seconds", "2s", "-o", "two.mp4", *common]) == 0
    one, two = Path("one.mp4"), Path("two.mp4")
    np.testing.assert_array_equal(read_frames(one), read_frames(two))
    assert read_record(one) == read_record(two) and read_record(one)["scenes"] == [[1.0, "two cubes"], [1.5, "a cone"]]
    assert main(["extend", "one.mp4", "--prompt-at", "1s", "it rains", "--seconds", "2s", *common]) == 0
    record = read_record(Path("one-extended.mp4"))
    assert record["prompt"] == "a cone" and record["scenes"] == [[1.0, "it rains"]]
    capsys.readouterr()
    for arguments, said in (
        (["--prompt-at", "1s", "b"], "say what to show at first: sora generate"),
        (["a", "--storyboard", "story.toml"], "PROMPT and a scene at 0s both say what is shown first"),
        (["a", "--prompt-at", "9s", "b"], "a scene at 9s lies beyond the end at 4s; --seconds makes it later"),
        (["a", "--storyboard", "none.toml"], "none.toml: no such storyboard file"),
    ):
        assert main(["generate", *arguments, *common]) == 2
        assert said in capsys.readouterr().err
    assert main(["generate", "a", "--prompt-at", "9s"]) == 2
    assert "'--prompt-at' requires 2 arguments" in capsys.readouterr().err
