"""The batch scripts, run by bash with stand-ins for srun, scontrol and sora, against what each kind of end asks for."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "recipes" / "slurm"
ARGUMENTS = {
    "vae": (["nano/vae", "my clips.jsonl"], ["vae", "train", "nano/vae", "--clips", "my clips.jsonl"]),
    "dit": (["nano/dit", "latents"], ["dit", "train", "nano/dit", "--latents", "latents"]),
    "captions": (["my clips.jsonl"], ["caption", "write", "my clips.jsonl"]),
    "train": (["judge", "train", "nano/judge"], ["judge", "train", "nano/judge"]),
    "latents": (["r", "clips", "vae"], ["latents", "cache", "r", "--clips", "clips", "--vae", "vae"]),
}
IN_ARRAYS = ("captions", "latents")
FIRST = {"captions": "CLIPS", "train": "RUN"}

STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": 'echo "$@" >> "$SEEN.scontrol"',
    "sleep": ":",
    "sora": (
        'printf "%s\\n" "$@" > "$SEEN.sora"; grep SigIgn /proc/$$/status > "$SEEN.ignored"\n'
        '[ -z "$REASON" ] || echo "$REASON" > "$STOPPED"; [ -z "$MADE" ] || mkdir -p "$MADE"; exit "$CODE"'
    ),
}


@pytest.fixture
def run_script(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in STAND_INS.items():
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    run = tmp_path / "run"
    run.mkdir()

    def run_it(name: str, reason: str = "", code: int = 0, restarts: int = 0, made: str = ""):
        beside = tmp_path / "run.captions" if name == "captions" else run
        beside.mkdir(exist_ok=True)
        stopped = beside / ("stopped.5" if name in IN_ARRAYS else "stopped")
        stopped.write_text("SIGTERM\n")  # of an earlier turn
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "SEEN": str(tmp_path / "seen"),
            "STOPPED": str(stopped),
            "REASON": reason,
            "CODE": str(code),
            "MADE": str(run / made) if made else "",
            "SLURM_JOB_ID": "70",
            "SLURM_RESTART_COUNT": str(restarts),
        }
        if name in IN_ARRAYS:
            environment |= {"SLURM_ARRAY_JOB_ID": "60", "SLURM_ARRAY_TASK_ID": "5"}
        given = ARGUMENTS[name][0]
        places = [str(run), *given] if name == "train" else [*given, str(run)]
        command = ["bash", str(FOLDER / f"{name}.sbatch"), *places, "--set", "loop.steps=9"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        requeued = tmp_path / "seen.scontrol"
        return done.returncode, requeued.read_text().split() if requeued.exists() else [], tmp_path / "seen.sora"

    return run_it


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_command_is_that_of_a_laptop_with_signals_held_off(run_script, tmp_path, name):
    code, requeued, seen = run_script(name)
    assert (code, requeued) == (0, [])
    more, out = ["--set", "loop.steps=9"], ["--out", str(tmp_path / "run")]
    expected = [*ARGUMENTS[name][1], *(more + out if name == "train" else out + more)]
    assert seen.read_text().splitlines() == expected
    ignored = int((tmp_path / "seen.ignored").read_text().split()[1], 16)
    assert ignored & (1 << 9) and ignored & (1 << 14)  # SIGUSR1 (10) and SIGTERM (15)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_error_is_passed_on(run_script, name):
    assert run_script(name, code=5)[:2] == (5, [])


@pytest.mark.parametrize("name", IN_ARRAYS)
def test_an_element_whose_share_is_done_before_the_others_has_not_failed(run_script, name):
    assert run_script(name, code=75)[:2] == (0, [])


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_end_of_its_time_asks_for_another_turn(run_script, name):
    code, requeued, _ = run_script(name, "SIGUSR1", restarts=49)
    assert code != 0  # 0 would be COMPLETED
    assert requeued == ["requeue", "60_5" if name in IN_ARRAYS else "70"]


@pytest.mark.row(34)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_two_restarts_without_progress_are_enough(run_script, name):
    asked = [len(run_script(name, "SIGUSR1", restarts=turn)[1]) // 2 for turn in (0, 1, 2)]
    assert asked == [1, 2, 2]
    assert len(run_script(name, "SIGUSR1")[1]) == 6  # who submits it again is given another chance


@pytest.mark.row(34)
@pytest.mark.parametrize("name", ["vae", "dit", "train", "latents"])
def test_as_long_as_there_is_progress(run_script, name):
    folder = "shards" if name == "latents" else "checkpoints"
    for turn in range(6):
        requeued = run_script(name, "SIGUSR1", restarts=turn, made=f"{folder}/step_{turn // 2}")[1]
    assert len(requeued) == 12


@pytest.mark.parametrize(("name", "given"), [("vae", ["nano/vae", ""]), ("latents", ["r", "", "vae"])])
def test_the_built_in_world_needs_no_clips(run_script, tmp_path, monkeypatch, name, given):
    monkeypatch.setitem(ARGUMENTS, name, (given, []))
    assert run_script(name)[0] == 0
    assert "--clips" not in (tmp_path / "seen.sora").read_text()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_cancelled_job_does_not_come_back(run_script, name):
    assert run_script(name, "SIGTERM")[:2] == (143, [])


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_that_are_missing_are_named(name):
    done = subprocess.run(
        ["bash", str(FOLDER / f"{name}.sbatch"), "only"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0 and f"usage: sbatch {name}.sbatch {FIRST.get(name, 'RECIPE')} " in done.stderr


@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_slurm_is_asked_for(name):
    text = (FOLDER / f"{name}.sbatch").read_text()
    for line in ("--requeue", "--signal=USR1@120", "--open-mode=append"):
        assert f"\n#SBATCH {line}\n" in text
    assert text.index("#SBATCH --signal") < text.index("${1:?")  # sbatch stops reading at the first command
    assert not (FOLDER / f"{name}.sbatch").stat().st_mode & stat.S_IWOTH
