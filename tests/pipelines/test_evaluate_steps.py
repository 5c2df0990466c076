"""The curve of quality against steps, of makers whose errors are known, and of a tiny model by the command."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from soracli.cli.app import main
from soracli.core.errors import ArtifactError, UsageError
from soracli.metrics.frechet import frechet_distance, project
from soracli.models.judge import Judge
from soracli.pipelines import evaluate_steps as module
from soracli.pipelines.evaluate_obedience import render, some_frames
from soracli.pipelines.evaluate_steps import StepsReport, evaluate_steps, judge_features
from soracli.pipelines.video_maker import VideoMaker
from soracli.pipelines.world_prompts import draw_prompts
from tests.pipelines.tiny_eval import JUDGE, flat, pretend_maker, save_tiny_model

COUNT, SEED, CPU = 6, 40, torch.device("cpu")


@pytest.fixture(autouse=True)
def _without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_feature_weights", lambda: None)


def maker_of(num_steps: int) -> VideoMaker:
    """The renders that are asked for, hidden by a dark veil that more steps take away."""
    asked = draw_prompts(COUNT, SEED)

    def make(prompt: str, seed: int, num_frames: int) -> Tensor:
        assert prompt == asked[seed - SEED].text
        true = render(asked[seed - SEED].scene, pretend_maker(lambda *_: flat(0, 1)), 0.75, CPU).float()
        return (true - true / num_steps).round().to(torch.uint8)

    return pretend_maker(make)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def curve(folder: Path, *steps: int) -> StepsReport:
    return evaluate_steps(folder, steps, prompts=COUNT, seconds=0.75, seed=SEED, device="cpu", open_maker=maker_of)


def test_more_of_the_veil_is_farther(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By mean colours, which the veil moves as far as it is thick."""
    monkeypatch.setattr(module, "choose_features", lambda *_: ("colours", lambda frames: frames.float().mean((1, 2))))
    report = curve(folder, 8, 2, 1)
    assert [row.num_steps for row in report.rows] == [8, 2, 1]
    near, middle, far = (row.frechet for row in report.rows)
    assert report.renders.frechet < middle and near < middle < far
    for row in (*report.rows, report.renders):
        assert row.obeyed["colour_and_shape"].total == COUNT and row.seconds > 0
    assert report.features == "colours" and "2000040" in report.protocol


def test_without_a_veil_it_is_the_floor(folder: Path) -> None:
    """Perfect videos have the distance of the renders, which is that of both sets by hand."""
    report = curve(folder, 10**6)
    assert report.features == "what the judge sees"
    assert report.rows[0].frechet == report.renders.frechet and report.rows[0].obeyed == report.renders.obeyed
    from soracli.models.judge_store import load_judge

    judge = load_judge(folder / "judge", CPU)
    sets = []
    for seed in (SEED + COUNT, SEED):
        shown = [some_frames(render(prompt.scene, maker_of(1), 0.75, CPU)) for prompt in draw_prompts(COUNT, seed)]
        sets.append(torch.cat([judge_features(judge, frames) for frames in shown]))
    reference, own = project(*sets, dimensions=64)
    assert report.renders.frechet == pytest.approx(frechet_distance(own, reference))


def test_what_the_judge_sees() -> None:
    """Shares of a frame: those of all colours together are what is there, and likewise of shapes and sizes."""
    torch.manual_seed(0)
    judge = Judge(JUDGE)
    found = judge_features(judge, torch.randint(0, 256, (5, 40, 32, 3), dtype=torch.uint8))
    there, *words, pose = found.split([1, len(JUDGE.colours), len(JUDGE.shapes), len(JUDGE.sizes), 3], 1)
    assert found.shape[0] == 5 and pose.shape == (5, 3)
    for part in words:
        torch.testing.assert_close(part.sum(1, keepdim=True), there)


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 4, got 3"):
        evaluate_steps(folder, [1], prompts=3, device="cpu")
    with pytest.raises(UsageError, match="--steps must be 1 to 1000, got 2000"):
        evaluate_steps(folder, [1, 2000], device="cpu")
    with pytest.raises(ArtifactError):
        evaluate_steps(tmp_path, [1], device="cpu")


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "dit",
        "eval",
        str(folder),
        "--steps",
        "1,3",
        "--prompts",
        "4",
        "--seconds",
        "0.75s",
        "--device",
        "cpu",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line[:1].isdigit()] == ["1", "3"]
    assert "distance" in out and "renders" in out and "protocol: 4 prompts" in out
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["num_steps"] for row in report["rows"]] == [1, 3] and "num_steps" not in report["settings"]
    for more, said in (
        (["--steps", "1,x"], "such as 1,2,4,8,32; got '1,x'"),
        (["--steps", "2,2"], "names a number of steps twice"),
        (["--minutes", "1"], "leave out --minutes"),
    ):
        assert main([*arguments, *more]) == 2
        assert said in capsys.readouterr().err
