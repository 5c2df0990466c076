"""A Slurm that lives as long as these tests, a tiny training's inputs, and a ``sora`` of this checkout."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.slurm.cluster import start_cluster, stop_cluster, why_not
from tests.faults.slurm.jobs import submit
from tests.pipelines.runs import DIT, make_cache

STEPS = 200
ONE_RANK = ("--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=1")
TWO_RANKS = ("--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=1")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Slurm, and a folder where the output of its jobs lies."""
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="sora-slurm-", dir="/tmp"))  # names of sockets are short
    work = tmp_path_factory.mktemp("jobs")
    tools = work / "bin"
    tools.mkdir()
    (tools / "sora").write_text(f'#!/bin/bash\nexec {sys.executable} -m soracli.cli.start "$@"\n')
    (tools / "sora").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        patch.setenv("OMP_NUM_THREADS", "1")
        try:
            start_cluster(folder)
            yield work
        finally:
            stop_cluster(folder)


@pytest.fixture(scope="session")
def training(cluster: Path) -> tuple[str | Path, ...]:
    """What ``dit.sbatch`` takes before the run folder: a tiny recipe, and latents of a tiny VAE."""
    _, latents = make_cache(cluster)
    (cluster / "tiny.toml").write_text('kind = "dit.train"\n')
    return cluster / "tiny.toml", latents


@pytest.fixture(scope="session")
def options(cluster: Path) -> list[str]:
    """And what it takes behind it."""
    settings = [*DIT, f"loop.steps={STEPS}", "loop.save_every=50"]
    return ["--vae", str(cluster / "vae"), "--device", "cpu", *(word for text in settings for word in ("--set", text))]


@pytest.fixture(scope="session")
def undisturbed(cluster: Path, training: tuple[str | Path, ...], options: list[str]) -> tuple[str, Path]:
    """A run that nothing happens to: its job, which may still be at work, and its folder."""
    return submit(
        "dit.sbatch", *training, cluster / "undisturbed", *options, options=TWO_RANKS
    ), cluster / "undisturbed"
