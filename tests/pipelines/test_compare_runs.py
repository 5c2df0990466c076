"""A run beside a reference: verdicts on made-up runs, what differs, time, and kinds that do not fit."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from soracli.core.errors import UsageError
from soracli.pipelines.compare_runs import RunReport, compare_runs, direction_of
from soracli.pipelines.reference_curves import make_reference, read_run, write_reference
from tests.pipelines.made_up_runs import make_run


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "reference.json"
    write_reference(path, make_reference(read_run(make_run(tmp_path / "first", seed=1)), "2 cores of something"))
    return path


def _by_name(report: RunReport) -> dict[str, str | None]:
    return {metric.name: metric.comparison.state for metric in report.metrics}


def test_another_seed_is_on_track(tmp_path: Path, reference: Path) -> None:
    report = compare_runs(make_run(tmp_path / "second", seed=2, seconds_per_step=1.0), reference)
    assert report.state == "on track" and report.verdict.startswith("on track")
    assert "3 of 3 decisive figures compared, up to step 2000" in report.verdict
    assert _by_name(report) == {
        "loss": "on track", "psnr": "on track", "held_out_psnr": "on track", "gradient_norm": None
    }  # fmt: skip
    assert [metric.decisive for metric in report.metrics] == [True, True, True, False]
    assert (report.steps, report.seconds, report.reference_seconds) == (2000, 2000, 1000)
    assert report.seeds == (2, 1) and report.changes == () and report.missing == ()
    assert report.hardware == "2 cores of something" and "3 standard errors" in report.protocol
    assert json.loads(json.dumps(asdict(report)))["metrics"][0]["comparison"]["stretches"] == 100


def test_a_slow_run_is_behind_and_a_quick_one_ahead(tmp_path: Path, reference: Path) -> None:
    slow = compare_runs(make_run(tmp_path / "slow", seed=2, speed=0.5, steps=800), reference)
    assert slow.state == "behind"
    steps = int(slow.verdict.removeprefix("behind by ").split()[0])
    assert steps == pytest.approx(400, abs=80) and "at step 800, where the reference has" in slow.verdict
    assert slow.reference_seconds == pytest.approx(400)
    quick = compare_runs(make_run(tmp_path / "quick", seed=2, speed=2, steps=800), reference)
    assert quick.state == "on track" and quick.verdict.startswith("on track, ahead in")
    assert set(_by_name(quick).values()) == {"ahead", None}


def test_nan_has_diverged_whatever_else_is_well(tmp_path: Path, reference: Path) -> None:
    report = compare_runs(make_run(tmp_path / "broken", seed=2, broken_from=1500), reference)
    assert report.state == "diverged" and report.verdict == "diverged: the last loss is not finite"
    assert _by_name(report)["psnr"] == "on track"
    asdict(report)


def test_it_may_be_too_early(tmp_path: Path, reference: Path) -> None:
    report = compare_runs(make_run(tmp_path / "young", seed=2, steps=10), reference)
    assert report.state == "too early" and report.verdict.endswith("the reference's first figures are at step 20")
    assert report.missing == ("held_out_psnr",) and report.reference_seconds == pytest.approx(5)


def test_without_a_common_figure_nothing_is_judged(tmp_path: Path, reference: Path) -> None:
    run = make_run(tmp_path / "other")
    (run / "metrics.jsonl").write_text('{"step": 100, "seconds": 1, "gradient_norm": 1.0}\n')
    report = compare_runs(run, reference)
    assert report.state is None and report.verdict.startswith("nothing to judge by")


def test_what_bends_a_curve_is_told_and_what_does_not_is_not(tmp_path: Path, reference: Path) -> None:
    changes = {
        "optimiser": {"learning_rate": 0.01, "max_skipped_steps": 3},
        "loop": {"steps": 4000, "log_every": 3, "num_threads": 1},
    }
    run = make_run(tmp_path / "changed", changes=changes)
    record = json.loads((run / "run.json").read_text())
    record["resolved"] |= {"compile": True, "init": "a" * 64}
    del record["resolved"]["optimiser"]["spike_ratio"]  # as a run of an older sora, which did without
    (run / "run.json").write_text(json.dumps(record))
    assert compare_runs(run, reference).changes == (
        'init = "aaaaaaaaaaaaaaaaaaaa... (reference absent)',
        "loop.steps = 4000 (reference 2000)",
        "optimiser.learning_rate = 0.01 (reference 0.0003)",
    )


def test_another_kind_is_refused(tmp_path: Path, reference: Path) -> None:
    run = make_run(tmp_path / "judge", kind="judge.train")
    with pytest.raises(UsageError, match=r"is a judge\.train, but .* is of a vae\.train"):
        compare_runs(run, reference)


def test_directions() -> None:
    less = {"loss", "fixed_loss", "held_out_loss"}
    more = {"psnr", "held_out_psnr", "held_out_psnr_objects", "held_out_motion"}
    neither = {"kl", "l1", "gradient_norm", "learning_rate", "tokens_per_second", "loss_t0.25", "there"}
    assert {name: direction_of(name) for name in less | more | neither} == {
        **dict.fromkeys(less, -1),
        **dict.fromkeys(more, 1),
        **dict.fromkeys(neither, 0),
    }


def test_no_torch_is_needed() -> None:
    script = "import soracli.pipelines.compare_runs, sys; print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
