"""``--expand``: a model is shown the expansion; what was typed names the file and stands first in its record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soracli.cli.app import main
from soracli.data.video_record import read_record
from soracli.metrics.contradictions import contradictions
from soracli.pipelines import generate as generate_module
from soracli.pipelines.expand_prompt import expander
from soracli.pipelines.plan_gap import plan_gap
from soracli.pipelines.plan_generation import GenerationPlan, plan_generation
from soracli.pipelines.scenes import Scene, recorded_scenes
from tests.chat_server import KEY, chat_server, completion
from tests.pipelines.generators import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def plan(model: Path, *prompts: str, **given) -> GenerationPlan:
    return plan_generation(prompts, model=model, seed=3, expand=expander(), **given)


def test_each_video_has_an_expansion_of_its_own_and_always_the_same(model: Path, workspace: Path) -> None:
    found = plan(model, "a red ball", count=4)
    shown = [job.prompt for job in found.jobs]
    assert len(set(shown)) == 4 and all(len(text) > 30 and not contradictions("a red ball", text) for text in shown)
    assert [job.prompt for job in plan(model, "a red ball", count=4).jobs] == shown
    assert [job.path.name for job in found.jobs] == [f"a-red-ball-{seed}.mp4" for seed in (3, 4, 5, 6)]
    for job in found.jobs:
        assert (job.record["prompt"], job.record["expanded"]) == ("a red ball", job.prompt)
        assert job.record["expanded_by"] == "rules"
        assert f"'a red ball' is shown as: {job.prompt}" in found.notes


def test_pictures_do_not_move(model: Path, workspace: Path) -> None:
    found = plan(model, "a red ball that bounces", out=Path("ball.png"))
    assert found.jobs[0].prompt == "a red ball that bounces"
    assert "which a picture cannot show" in found.notes[0]


def test_what_is_not_expanded_is_recorded_as_ever(model: Path, workspace: Path) -> None:
    found = plan(model, "rocket")
    assert found.jobs[0].prompt == "rocket" and "expanded" not in found.jobs[0].record
    assert "'rocket' is left as it is: it is not of the world" in found.notes[0]


def test_scenes_are_expanded_and_go_on_as_they_were_shown(model: Path, workspace: Path) -> None:
    found = plan(model, "a red ball", later=[Scene(2.0, "a blue cube"), Scene(3.0, "rocket")], seconds=4.0)
    record = json.loads(json.dumps(found.jobs[0].record))
    assert record["scenes_asked"] == ["a blue cube", "rocket"]
    assert [scene.asked for scene in found.later] == ["a blue cube", ""]
    shown = [found.jobs[0].prompt, *(scene.prompt for scene in found.later)]
    assert [scene.prompt for scene in recorded_scenes(record)] == shown
    assert "cube" in shown[1] and len(shown[1]) > 30 and shown[2] == "rocket"


def test_a_video_goes_on_as_it_was_shown(model: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_module, "set_threads", lambda count: count)
    given = ["--model", str(model), "--seconds", "1", "--steps", "1", "--seed", "3", "--device", "cpu"]
    assert main(["generate", "a red ball", "--expand", *given]) == 0
    record = read_record(Path("a-red-ball-3.mp4"))
    same = plan_gap("extend", [Path("a-red-ball-3.mp4")], model=model, seed=1, expand=expander())
    assert same.prompt == record["expanded"] != record["prompt"] == "a red ball"
    other = plan_gap("extend", [Path("a-red-ball-3.mp4")], model=model, seed=1, prompt="a cone", expand=expander())
    assert other.record["prompt"] == "a cone" and other.record["expanded"] == other.prompt != "a cone"


def test_by_a_language_model(
    model: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_module, "set_threads", lambda count: count)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    given = ["--model", str(model), "--seconds", "1", "--steps", "1", "--seed", "3", "--device", "cpu", "--json"]
    with chat_server(lambda number, asked: completion("A red ball rests on pale sand at dawn.")) as server:
        assert main(["generate", "a red ball", "--expand-by", server.url, "see-er", *given]) == 0
    out, error = capsys.readouterr()
    (record,) = json.loads(out)
    assert record["expanded"] == "A red ball rests on pale sand at dawn." and record["expanded_by"] == "see-er"
    assert KEY not in out + error + json.dumps(read_record(Path("a-red-ball-3.mp4")))
    assert main(["generate", "a ball", "--expand-by", "ftp://x", "m", *given]) == 2
