"""Two gloo ranks against one process: the same VAE and the same DiT to rounding, and the same losses."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from soracli.pipelines import train_vae as vae_pipeline
from soracli.pipelines.train_dit import train_dit
from soracli.pipelines.train_vae import train_vae
from tests.pipelines.rank_child import SMALL_STEPS
from tests.pipelines.runs import dit_recipe, figures, make_cache, vae_recipe, weights

ROOT = Path(__file__).parents[2]


def free_ports(count: int) -> list[str]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in probes]


@pytest.mark.row(37)
def test_two_ranks_are_one(tmp_path, monkeypatch):
    monkeypatch.setattr(vae_pipeline, "_STATISTICS_SAMPLES", 8)
    vae, latents = make_cache(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.rank_child", str(tmp_path), *free_ports(2)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    train_vae(vae_recipe(*SMALL_STEPS, "loop.steps=4"), clips=None, out=tmp_path / "one_vae", device="cpu")
    train_dit(dit_recipe("loop.steps=4"), latents=latents, vae=vae, out=tmp_path / "one_dit", device="cpu")
    for kind in ("vae", "dit"):
        one, two = tmp_path / f"one_{kind}", tmp_path / f"two_{kind}"
        assert figures(two) == pytest.approx(figures(one), rel=1e-5)
        found, expected = weights(two, 4), weights(one, 4)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4, msg=f"{kind} {name}")
            if name.endswith("/exp_avg"):
                assert float((found[name] - tensor).norm()) <= 1e-4 * float(tensor.norm()) + 1e-9, f"{kind} {name}"
        assert (two / "model").is_dir()
