"""Training the judge: interrupted equals uninterrupted, bit for bit; a finished run holds a judge and its figures."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from soracli.core.errors import DataError, RecipeError, Stopped
from soracli.core.progress import SilentReporter
from soracli.metrics.obedience import SceneWords
from soracli.models.config import JudgeConfig
from soracli.models.judge import Judge
from soracli.models.judge_store import load_judge
from soracli.pipelines.judge import judge_input, judge_video
from soracli.pipelines.recipes import JudgeTrainRecipe
from soracli.pipelines.score_judge import report_text, score_judge
from soracli.pipelines.train_judge import train_judge
from soracli.recipe.load import load_recipe

TINY = [
    "judge.side=32", "judge.num_frames=9", "judge.widths=[8, 8, 8]", "judge.scene_width=8", "judge.track_width=8",
    "data.scenes=6", "data.batch_size=2", "loop.steps=6", "loop.save_every=3", "loop.log_every=1", "loop.num_threads=1",
    "optimiser.warmup_steps=2",
]  # fmt: skip


class StopAfter(SilentReporter):
    """A reporter that asks for a stop after some steps."""

    def __init__(self, steps):
        self.steps = steps

    def task(self, label, total, unit):
        return _Counting(self) if label == "judge train" else SilentReporter().task(label, total, unit)


class _Counting:
    def __init__(self, reporter):
        self.reporter = reporter

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        return None

    def advance(self, count=1, **figures):
        if figures:
            self.reporter.steps -= 1
            if self.reporter.steps == 0:
                os.kill(os.getpid(), signal.SIGUSR1)


def tiny(*more):
    return load_recipe(JudgeTrainRecipe, None, [*TINY, *more])


def test_interrupted_is_uninterrupted(tmp_path):
    whole = train_judge(tiny(), out=tmp_path / "whole", device="cpu")
    with pytest.raises(Stopped, match="SIGUSR1 after step 4"):
        train_judge(tiny(), out=tmp_path / "parts", device="cpu", reporter=StopAfter(4))
    assert (tmp_path / "parts" / "stopped").read_text() == "SIGUSR1\n"
    parts = train_judge(tiny(), out=tmp_path / "parts", device="cpu")
    weights = [load_file(run / "checkpoints" / "step_00000006" / "ema.safetensors") for run in (whole, parts)]
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), name
    losses = [
        [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, parts)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6

    card = (whole / "model" / "judge" / "README.md").read_text()
    assert "isolated" in card
    assert "colour_and_shape" in card
    assert json.loads((whole / "examination.json").read_text())["isolated"]["scenes"] == 6
    load_judge(whole)


def test_another_recipe_is_another_run(tmp_path):
    train_judge(tiny("loop.steps=1"), out=tmp_path, device="cpu")
    with pytest.raises(RecipeError, match=r"data\.noise"):
        train_judge(tiny("loop.steps=1", "data.noise=0.2"), out=tmp_path, device="cpu")


def test_it_learns_where_and_what_objects_are(tmp_path):
    run = train_judge(
        tiny("loop.steps=40", "optimiser.learning_rate=0.01", "judge.num_frames=5"), out=tmp_path, device="cpu"
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for part in ("loss", "there", "colour"):
        first, last = (sum(line[part] for line in some) for some in (lines[:5], lines[-5:]))
        assert last < 0.9 * first, part


def test_frames_are_picked_by_seconds_and_fitted():
    judge = Judge(JudgeConfig(side=32, num_frames=5, widths=(8, 8, 8)))
    video = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(-1, 48, 64, 3)
    shown = judge_input(judge, video, fps=12)
    assert shown.shape == (5, 3, 32, 32)
    assert ((shown[:, 0, 0, 0] + 1) * 127.5).round().tolist() == [0, 3, 6, 9, 12]
    assert ((judge_input(judge, video, fps=24)[:, 0, 0, 0] + 1) * 127.5).round().tolist() == [0, 6, 12, 18, 24]
    assert len(judge_input(judge, video[:10], fps=12)) == 4
    with pytest.raises(DataError, match="too short"):
        judge_input(judge, video[:9], fps=12)


def test_an_untrained_judge_still_answers():
    torch.manual_seed(0)
    judge = Judge(JudgeConfig(side=32, num_frames=5, widths=(8, 8, 8))).eval()
    seen = judge_video(judge, torch.randint(0, 255, (14, 32, 32, 3), dtype=torch.uint8), fps=12)
    assert isinstance(seen, SceneWords)
    assert seen.count == len(seen.objects)


def test_a_score_covers_every_scene_and_prints(tmp_path):
    judge = Judge(JudgeConfig(side=32, num_frames=5, widths=(8, 8, 8))).eval()
    gone = []

    def through(video):
        gone.append(video.shape)
        return video

    report = score_judge(judge, num_scenes=3, num_objects=2, degrade=through)
    assert gone == [(13, 32, 32, 3)] * 3
    assert (report.scenes, report.objects) == (3, 6)
    assert sum(map(sum, report.confusion["camera"])) == 3
    assert set(report.accuracy) == {
        "colour",
        "shape",
        "size",
        "motion",
        "ground",
        "camera",
        "colour_and_shape",
        "count",
    }
    assert "3 videos, 6 objects" in report_text(report)
