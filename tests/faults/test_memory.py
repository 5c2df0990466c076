"""Memory that runs out in the middle of a training, on the machine and on a device: a line, 5, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from soracli.cli.problems import describe_error
from soracli.pipelines import train_dit as pipeline
from soracli.pipelines.train_dit import train_dit
from soracli.training.checkpoint import load_latest
from tests.pipelines.runs import assert_same_run, dit_recipe, make_cache

LIMITED = """
import resource, sys
import torch
from pathlib import Path
from soracli.cli.problems import describe_error
from soracli.pipelines.train_dit import train_dit
from tests.pipelines.runs import dit_recipe
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
folder, recipe = Path(sys.argv[1]), dit_recipe(*sys.argv[2:])
try:
    train_dit(recipe, latents=folder / "latents", vae=folder / "vae", out=folder / "run", device="cpu")
except Exception as error:
    lines, code = describe_error(error)
    print(*lines, sep="\\n")
    sys.exit(code)
"""


def train(folder: Path, name: str, *changes: str, device: str = "cpu") -> Path:
    return train_dit(
        dit_recipe(*changes), latents=folder / "latents", vae=folder / "vae", out=folder / name, device=device
    )


@pytest.mark.row(40)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_of_the_machine_runs_out(tmp_path: Path) -> None:
    """A batch for which half a GiB more than the imports took is not enough."""
    make_cache(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), "dit.hidden_size=2048", "dit.depth=4"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    assert done.stdout.startswith("sora: error: out of memory: the machine has too little for this (")
    assert "more were wanted); take a smaller batch or model" in done.stdout and done.stdout.count("\n") == 1


@pytest.mark.row(40, 41)
@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("Tried to allocate 2.00 GiB. GPU 0 has")])
def test_what_was_saved_before_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    make_cache(tmp_path)
    learn = pipeline.learn

    def learn_or_run_out(model, batch, recipe, state, world):  # type: ignore[no-untyped-def]
        if state.step == 3:
            raise error
        return learn(model, batch, recipe, state, world)

    with monkeypatch.context() as patched, pytest.raises(type(error)) as caught:
        patched.setattr(pipeline, "learn", learn_or_run_out)
        train(tmp_path, "run")
    assert describe_error(caught.value)[1] == 5
    assert load_latest(tmp_path / "run/checkpoints").step == 2  # type: ignore[union-attr]
    assert_same_run(train(tmp_path, "whole"), train(tmp_path, "run"))


@pytest.mark.gpu
@pytest.mark.row(41)
def test_memory_of_a_device_runs_out(tmp_path: Path) -> None:
    """A cap of 1 GiB for this process, and a model that wants more."""
    make_cache(tmp_path)
    torch.cuda.set_per_process_memory_fraction(2**30 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            train(tmp_path, "run", "dit.hidden_size=2048", "dit.depth=16", device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    (line,), code = describe_error(caught.value)
    assert code == 5 and line.startswith("sora: error: out of memory: the device has too little for this (")
