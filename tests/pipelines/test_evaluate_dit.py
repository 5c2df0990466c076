"""The whole evaluation of a tiny model: what is in the report, that it repeats itself, judges found, refusals."""

import json
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from soracli.core.errors import ArtifactError, UsageError
from soracli.models.record import read_record
from soracli.pipelines import evaluate_dit as module
from soracli.pipelines import evaluate_seams
from soracli.pipelines.evaluate_dit import DitReport, evaluate_dit, find_judge
from soracli.pipelines.evaluate_drift import evaluate_drift
from soracli.pipelines.evaluate_edits import MADE, THROUGH_VAE, TRUE, UNCHANGED
from soracli.pipelines.video_maker import open_model
from tests.pipelines.tiny_eval import flat, pretend_maker, save_tiny_model


@pytest.fixture
def model(workspace: Path) -> Path:
    return save_tiny_model(workspace / "model")


def test_a_report_is_whole_and_repeats_itself(model: Path) -> None:
    def evaluate(seed: int) -> DitReport:
        return evaluate_dit(
            model, prompts=2, seconds=0.5, seed=seed, judge_scenes=1, device="cpu", picture=Path("all.png")
        )

    report = evaluate(3)
    assert evaluate(3) == report
    values = json.loads(json.dumps(asdict(report)))
    assert values["judge"] == str(model / "judge")
    assert values["judge_hash"] == read_record(model / "judge", "judge")["hash"]
    assert values["settings"]["model"] == read_record(model / "dit", "dit")["hash"]
    assert values["settings"]["num_steps"] == 2 and values["names"] is values["drift"] is None
    assert values["seams"] is values["edits"] is values["identity"] is None
    first, second = values["obedience"]["prompts"]
    assert (first["seed"], first["style"], second["seed"], second["style"]) == (3, "short", 4, "long")
    assert set(first["answers"]) == {"generated", "renders", "renders through the VAE"}
    assert {"asked", "prompt", "held_out"} <= set(first) and first["asked"]["objects"][0]["colour"]
    assert {"seen", "right"} <= set(first["answers"]["generated"])
    with Image.open(report.picture) as picture:
        assert picture.height > 2 * 96


def test_minutes_are_measured_beside_the_models_window(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "evaluate_drift", partial(evaluate_drift, seconds=1.0))
    maker = pretend_maker(lambda prompt, seed, num_frames: flat(seed, num_frames))
    given = {"prompts": 0, "minutes": 1, "maker": maker, "device": "cpu"}
    report = evaluate_dit(model, picture=Path("all.png"), **given)
    assert report.judge == str(model / "judge") and report.obedience is None
    assert report.drift is not None and len(report.drift.videos) == 1
    assert list(report.drift.figures) == ["generated", "sliding window of 4"]
    assert Path("all.png").is_file() and report.settings == {"model": "pretended"}
    compared = evaluate_dit(model, sliding_windows=[3, 5], **given).drift
    assert compared is not None
    assert list(compared.figures) == ["generated", "sliding window of 3", "sliding window of 5"]


def test_the_judge_is_the_named_one_or_the_models_or_ours(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = model.parent / "run"
    shutil.copytree(model, run / "model")
    assert find_judge(None, model) == model / "judge"
    assert find_judge(None, run) == run / "model/judge"
    assert find_judge(run, model) == run / "model/judge"
    assert find_judge(model / "judge", run) == model / "judge"
    shutil.rmtree(model / "judge")
    monkeypatch.setattr(module.soracli, "__file__", str(model.parent / "soracli/__init__.py"))
    with pytest.raises(ArtifactError, match="name one with --judge; names and seams need none"):
        find_judge(None, model)
    shutil.copytree(run / "model/judge", model.parent / "soracli/weights/nano/judge")
    assert find_judge(None, model) == model.parent / "soracli/weights/nano/judge"
    with pytest.raises(ArtifactError, match="no judge"):
        find_judge(model, run)


def test_verbs_are_measured(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor's edits and seams, in the report and in the picture."""
    monkeypatch.setattr(evaluate_seams, "VERBS", ("extend",))
    editor = save_tiny_model(workspace / "editor", edits=True)
    maker = open_model(editor, torch.device("cpu"))
    given = {"prompts": 0, "seconds": 0.75, "seed": 2, "device": "cpu", "picture": Path("verbs.png")}
    report = evaluate_dit(editor, seams=1, edits=1, maker=maker, **given)
    assert report.seams is not None and report.edits is not None and report.obedience is None
    assert report.judge == str(editor / "judge")
    assert [case.verb for case in report.seams.cases] == ["extend"]
    assert list(report.edits.shares) == [MADE, TRUE, THROUGH_VAE, UNCHANGED]
    json.dumps(asdict(report))
    with Image.open("verbs.png") as picture:
        assert picture.height > 2 * 96


def test_what_was_hidden_is_in_the_report(workspace: Path) -> None:
    """A model with a window of some seconds, which extends what it is given as the command does."""
    tiny = save_tiny_model(workspace / "remembers", window=6)
    report = evaluate_dit(tiny, prompts=0, identity=2, seed=1, device="cpu", picture=Path("hidden.png"))
    assert report.identity is not None and report.seams is report.obedience is None
    assert report.judge == str(tiny / "judge")
    assert [case.group for case in report.identity.cases] == ["inside"] * 2 + ["beyond"] * 2
    assert [case.hidden_by for case in report.identity.cases] == ["view", "object"] * 2
    assert list(report.identity.shares) == ["generated", "renders", "renders through the VAE"]
    json.dumps(asdict(report))
    with Image.open("hidden.png") as picture:
        assert picture.height > 4 * 96


def test_what_is_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="nothing to evaluate"):
        evaluate_dit(model, prompts=0)
    with pytest.raises(UsageError, match=r"try x\.png"):
        evaluate_dit(model, picture=Path("x.jpg"))
    with pytest.raises(UsageError, match="was not trained to follow instructions: leave out --edits"):
        evaluate_dit(model, prompts=0, edits=1, device="cpu")
    with pytest.raises(UsageError, match="take no adapter: leave out --seams, --edits and --identity"):
        evaluate_dit(model, prompts=0, seams=1, adapter=Path("a"), device="cpu")
    with pytest.raises(UsageError, match="take no adapter"):
        evaluate_dit(model, prompts=0, identity=1, adapter=Path("a"), device="cpu")
    with pytest.raises(UsageError, match="give --minutes N too"):
        evaluate_dit(model, sliding_windows=[4], device="cpu")
    with pytest.raises(UsageError, match="give --seams N too"):
        evaluate_dit(model, prompts=1, seam_clips=[Path("a.jsonl")], device="cpu")
    with pytest.raises(ArtifactError, match="not a dit"):
        evaluate_dit(model / "vae", prompts=0, minutes=1, device="cpu")
