"""Run folders: one owner at a time, also across processes and after kill -9; resume, refusal and errors by name."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from soracli.core.errors import ArtifactError, BusyError, MachineError, RecipeError, UsageError
from soracli.training.run_folder import open_run, write_stopped

RESOLVED = {"kind": "vae.train", "loop": {"steps": 10}, "vae": {"width": 8}}

HOLD = """
import sys, time
from pathlib import Path
from soracli.training.run_folder import open_run
with open_run(Path(sys.argv[1]), "", {"kind": "vae.train", "loop": {"steps": 10}, "vae": {"width": 8}}):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.row(23)
def test_new_then_resumed(tmp_path):
    path = tmp_path / "deep" / "run"
    notes: list[str] = []
    with open_run(path, "# mine\n", RESOLVED) as run:
        assert not run.resumed and run.path == path
        assert (path / "recipe.toml").read_text() == "# mine\n"
    write_stopped(path, "SIGUSR1")
    assert (path / "stopped").read_text() == "SIGUSR1\n"
    with open_run(path, "# mine, longer\n", {**RESOLVED, "loop": {"steps": 20}}, note=notes.append) as run:
        assert run.resumed and not (path / "stopped").exists()
    assert notes == ["loop.steps is now 20 (was 10)"]
    assert json.loads((path / "run.json").read_text())["resolved"]["loop"]["steps"] == 20
    write_stopped(path, "SIGTERM", "3")
    assert (path / "stopped.3").read_text() == "SIGTERM\n"


@pytest.mark.row(23)
def test_changed_recipe_is_refused_and_the_record_stays(tmp_path):
    with open_run(tmp_path, "", RESOLVED):
        pass
    with (
        pytest.raises(RecipeError, match=r"began with vae.width = 8, now 16"),
        open_run(tmp_path, "", {**RESOLVED, "vae": {"width": 16}}),
    ):
        pass
    with open_run(tmp_path, "", RESOLVED) as run:  # the refusal left no lock behind
        assert run.resumed


@pytest.mark.row(39)
def test_second_owner_is_told_who_has_it_and_a_dead_one_holds_nothing(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "SLURM_JOB_ID": "77"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyError, match=rf"in use by process {holder.pid} on .*Slurm job 77 since"),
            open_run(tmp_path, "", RESOLVED),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with open_run(tmp_path, "", RESOLVED) as run:
            assert run.resumed


def test_errors_inside_are_not_taken_for_ours(tmp_path):
    with pytest.raises(PermissionError), open_run(tmp_path, "", RESOLVED):
        raise PermissionError(13, "of the body")
    assert (tmp_path / "lock").read_text() == ""


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds thesis.doc but no run.json"), open_run(tmp_path, "", RESOLVED):
        pass


def test_a_start_that_was_killed_at_once_does_not_count(tmp_path):
    (tmp_path / "lock").write_text("")
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / ".run.json.x1.part").write_text("")
    with open_run(tmp_path, "", RESOLVED) as run:
        assert not run.resumed


def test_damaged_record_and_unusable_places(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"run.json is damaged"), open_run(tmp_path, "", RESOLVED):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="as a run folder"), open_run(tmp_path / "file", "", RESOLVED):
        pass
    with pytest.raises(MachineError, match="as a run folder"), open_run(Path("/proc/nowhere"), "", RESOLVED):
        pass
