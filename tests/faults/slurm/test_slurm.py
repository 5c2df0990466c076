"""The batch scripts on a real Slurm: signals, limits, preemption, dead nodes, against a run that meets none of it."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.slurm.cluster import NODES, ask
from tests.faults.slurm.conftest import ONE_RANK, STEPS, TWO_RANKS
from tests.faults.slurm.jobs import hold, keepers, last_step, look, restarts, run_to_end, submit, wait_until
from tests.pipelines.runs import assert_same_run, figures

pytestmark = pytest.mark.slurm


def pause_later(job: str, run: Path) -> None:
    """Let a run go on for some steps, then hold its ranks: what comes next finds it in mid-run, however fast it is."""
    goal = last_step(run) + 10
    wait_until(lambda: last_step(run) >= goal, f"step {goal}", job)
    hold(run)
    assert goal <= last_step(run) < STEPS - 5


def minutes_run(job: str) -> int:
    """Whole minutes of this turn; Slurm writes ``0-01:02:03`` or ``01:02:03``."""
    days, _, clock = look(job)["RunTime"].rpartition("-")
    hours, minutes, _ = map(int, clock.split(":"))
    return (int(days or 0) * 24 + hours) * 60 + minutes


def back_in_queue(job: str, run: Path, times: int) -> None:
    def is_back() -> bool:
        return restarts(job) == times and look(job)["JobState"] in ("PENDING", "RUNNING")

    wait_until(is_back, f"requeued {times} times", job)
    assert last_step(run) < STEPS


@pytest.mark.row(28, 29, 30, 31)
def test_a_run_that_meets_everything_equals_one_that_met_nothing(cluster, training, options, undisturbed):
    run = cluster / "disturbed"
    limit = ("--time=120", "--signal=USR1@90")
    job = submit("dit.sbatch", *training, run, *options, options=(*TWO_RANKS, *limit))

    # 28: a signal before torch is imported kills no rank; the run stops after its first step.
    wait_until(lambda: keepers(run) == 2, "two ranks keep signals", job)
    ask("scancel", "--signal=USR1", job)
    back_in_queue(job, run, 1)
    assert last_step(run) == 1 and (run / "stopped").read_text() == "SIGUSR1\n"

    # 29: Slurm itself warns before the end of the time, which is made to come soon: it looks every 30 s.
    pause_later(job, run)
    ask("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes_run(job) + 2}")
    back_in_queue(job, run, 2)
    assert (run / "stopped").read_text() == "SIGUSR1\n"
    ask("scontrol", "update", f"JobId={job}", "TimeLimit=120")

    # 31: an administrator requeues it.
    pause_later(job, run)
    ask("scontrol", "requeue", job)
    back_in_queue(job, run, 3)

    # 30: somebody more important comes.
    pause_later(job, run)
    urgent = submit("--wrap=sleep 1", options=("--partition=urgent", "--exclusive", "--nodes=2"))
    back_in_queue(job, run, 4)
    assert run_to_end(urgent) == "COMPLETED"

    # 31: a node dies.
    pause_later(job, run)
    ask("scontrol", "update", f"NodeName={NODES[1]}", "State=DOWN", "Reason=test")
    back_in_queue(job, run, 5)
    with suppress(RuntimeError):  # it may have come back by itself
        ask("scontrol", "update", f"NodeName={NODES[1]}", "State=RESUME")

    assert run_to_end(job) == "COMPLETED"
    assert restarts(job) == 5 and not (run / "stopped").exists()
    whole_job, whole = undisturbed
    assert run_to_end(whole_job) == "COMPLETED" and restarts(whole_job) == 0
    assert len(figures(run)) == STEPS
    assert_same_run(run, whole, STEPS)


@pytest.mark.row(32)
def test_cancelled_is_saved_and_stays_dead(cluster, training, options):
    run = cluster / "cancelled"
    job = submit("dit.sbatch", *training, run, *options, options=ONE_RANK)
    pause_later(job, run)
    ask("scancel", job)
    wait_until(lambda: look(job)["JobState"] == "CANCELLED", "cancelled", job)
    assert (run / "stopped").read_text() == "SIGTERM\n"
    saved = [path for path in (run / "checkpoints").iterdir() if (path / "manifest.json").exists()]
    assert max(int(path.name.removeprefix("step_")) for path in saved) == last_step(run)
    time.sleep(5)
    assert look(job)["JobState"] == "CANCELLED" and restarts(job) == 0


@pytest.mark.row(33)
def test_an_element_requeues_itself_alone(cluster, training):
    cache = cluster / "cache"
    small = "fps = 8, height = 32, width = 32, weight = 1.0"
    shapes = ", ".join(f"{{seconds = {seconds}, {small}}}" for seconds in (0.5, 0.7, 0.9, 1.1))
    world = f"videos = 4\nimages = 0\ncaptions = 1\nshapes = [{shapes}]\n"
    (cluster / "cache.toml").write_text(f'kind = "latents.cache"\n\n[world]\n{world}')
    given = (cluster / "cache.toml", "", cluster / "vae", cache, "--device", "cpu")
    job = submit("latents.sbatch", *given, options=("--array=0-1", "--gpus=1"))
    first, last = f"{job}_0", f"{job}_1"  # SLURM_JOB_ID of the last element is the number of the whole array
    wait_until(lambda: keepers(cache, "1") == 1, "the last element keeps signals", last)
    ask("scancel", "--signal=USR1", last)
    wait_until(lambda: restarts(last) == 1, "requeued", last)
    assert run_to_end(last) == "COMPLETED" and run_to_end(first) == "COMPLETED"
    assert (restarts(first), restarts(last)) == (0, 1)
    assert len(list((cache / "shards").glob("*.safetensors"))) == 4 and (cache / "latents.json").is_file()


@pytest.mark.row(34)
@pytest.mark.parametrize(("body", "times"), [('mkdir -p "$7"; echo SIGUSR1 >"$7/stopped"', 2), ("exit 1", 0)])
def test_what_makes_no_progress_is_given_up(cluster, tmp_path, monkeypatch, body, times):
    # sora dit train RECIPE --latents LATENTS --out RUN: the run is the seventh word.
    (tmp_path / "sora").write_text(f"#!/bin/bash\n{body}\n")
    (tmp_path / "sora").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    job = submit("dit.sbatch", "recipe", "latents", tmp_path / "run", options=ONE_RANK)
    assert run_to_end(job) == "FAILED" and restarts(job) == times
    said = (cluster / f"sora-dit-{job}.out").read_text()
    assert said.count("gave up after two restarts without progress") == (1 if times else 0)


@pytest.mark.row(38)
def test_two_jobs_of_a_node_want_the_same_port(cluster, training, options, monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29477")
    place = ("--nodes=1", "--ntasks-per-node=2", "--gpus-per-node=1", f"--nodelist={NODES[0]}")
    more = ("--set", "loop.steps=5")
    runs = [cluster / f"port{number}" for number in range(2)]
    jobs = [submit("dit.sbatch", *training, run, *options, *more, options=place) for run in runs]
    assert [run_to_end(job) for job in jobs] == ["COMPLETED", "COMPLETED"]
    spans = [[look(job)[key] for key in ("StartTime", "EndTime")] for job in jobs]
    assert max(span[0] for span in spans) < min(span[1] for span in spans), "they were at work at the same time"
    assert figures(runs[0]) == figures(runs[1]) and len(figures(runs[0])) == 5
    said = [(cluster / f"sora-dit-{job}.out").read_text() for job in jobs]
    assert not any(re.search("error|Traceback", text) for text in said)
