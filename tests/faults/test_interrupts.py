"""^C at any moment of a command, and a signal to one rank of two: no traceback, all saved, nobody waits for ever."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.pipelines.runs import DIT, assert_same_run, make_cache

ROOT = Path(__file__).parents[2]
STEPS = 400


def start(folder: Path, run: Path, *changes: str, rank: int = 0, port: int = 0) -> subprocess.Popen[str]:
    """A tiny training as people start one, or one rank of two."""
    settings = [*DIT, f"loop.steps={STEPS}", "loop.save_every=100", *changes]
    command = [sys.executable, "-m", "soracli.cli.start", "dit", "train", str(folder / "tiny.toml"), "--out", str(run)]
    command += ["--latents", str(folder / "latents"), "--vae", str(folder / "vae"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if port:
        environment |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    words = [word for text in settings for word in ("--set", text)]
    return subprocess.Popen(
        [*command, *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what a terminal would send to this test, it should not get
    )


def has_imported_torch(process: subprocess.Popen[str]) -> bool:
    with suppress(OSError):
        return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()
    return False


def last_step(run: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"])
    return 0


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def leave(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = process.communicate(timeout=300)[1]
    assert "Traceback" not in said, said
    return process.returncode, said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_cache(tmp_path)
    (tmp_path / "tiny.toml").write_text('kind = "dit.train"\n')
    return tmp_path


@pytest.mark.slow
@pytest.mark.row(26)
def test_interrupts_at_any_moment_change_nothing(folder: Path) -> None:
    whole, run = folder / "whole", folder / "run"
    assert leave(start(folder, whole))[0] == 0
    moments = [has_imported_torch, lambda _: last_step(run) >= 1, lambda _: last_step(run) >= 150]
    for number, moment in enumerate(moments):
        process = start(folder, run)
        wait_for(lambda moment=moment, process=process: moment(process), process)
        process.send_signal(signal.SIGINT)
        code, said = leave(process)
        # While torch is imported there is nothing to save: it is given up. Afterwards it is saved, and says so.
        assert code == 75 if number else code in (75, 130), said
        assert last_step(run) < STEPS and not list(run.glob("checkpoints/*.part*"))
        assert not (run / "model").exists()
    # The second one before the first is answered: a step takes longer when every one is followed by an evaluation.
    process = start(folder, run, "loop.eval_every=1")
    goal = last_step(run) + 5
    wait_for(lambda: last_step(run) >= goal, process)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert leave(process)[0] == 130
    assert leave(start(folder, run))[0] == 0
    assert_same_run(run, whole, STEPS)


@pytest.mark.slow
@pytest.mark.row(27)
@pytest.mark.parametrize("shard_ranks", [1, 2])
def test_a_signal_to_one_rank_stops_both_at_one_step(folder: Path, shard_ranks: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    run = folder / "run"
    ranks = [start(folder, run, f"shard_ranks={shard_ranks}", rank=rank, port=port) for rank in range(2)]
    wait_for(lambda: last_step(run) >= 3, ranks[0])
    ranks[1].send_signal(signal.SIGTERM)
    codes = [leave(rank)[0] for rank in ranks]
    assert (run / "stopped").read_text() == "SIGTERM\n"
    newest = max(int(path.name.removeprefix("step_")) for path in (run / "checkpoints").glob("step_*"))
    assert newest == last_step(run) < STEPS
    assert codes == [0, 0]
