r"""A plan beside a run: memory and time that `sora plan --gpu cpu` counts, and those of a few steps on this machine.

    python benchmarks/plan_and_run.py vae nano/vae --steps 2 --set frames.world_share=1 --set perceptual.weight=0 \
        --set 'frames.shapes=[{num_frames = 9, crop = 64, batch_size = 4}]'
    python benchmarks/plan_and_run.py dit nano/dit --latents runs/nano/latents --vae runs/nano/vae --steps 2

Memory is the highest resident size of the process less that after everything is imported. Time is that of the last
step; it means nothing on a machine that does other things at once, and is left out with --busy.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

from soracli.core.progress import SilentReporter
from soracli.pipelines import train_vae as train_vae_module
from soracli.pipelines.count_training import plan_cluster
from soracli.pipelines.plan_training import count_training, open_cluster
from soracli.pipelines.recipes import DitTrainRecipe, VaeTrainRecipe
from soracli.pipelines.train_dit import train_dit
from soracli.pipelines.train_vae import train_vae
from soracli.recipe.find import find_recipe
from soracli.recipe.load import load_recipe


def resident(name: str) -> int:
    """Bytes: ``VmRSS`` now, ``VmHWM`` at most so far."""
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def main() -> None:
    """Plan, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["vae", "dit"])
    parser.add_argument("recipe")
    parser.add_argument("--latents", type=Path)
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--busy", action="store_true", help="the machine does other things: no times")
    given = parser.parse_args()
    changes = [*given.set, f"loop.steps={given.steps}", "loop.log_every=1", "loop.num_threads=1"]
    changes += ["loop.eval_every=0", "loop.sample_every=0"]
    kind = VaeTrainRecipe if given.kind == "vae" else DitTrainRecipe
    loaded = load_recipe(kind, find_recipe(given.recipe), changes)
    before = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        run, reporter = Path(folder) / "run", SilentReporter()
        if isinstance(loaded.recipe, VaeTrainRecipe):
            train_vae_module._STATISTICS_SAMPLES = 8  # after the last step, and no part of one
            train_vae(loaded, clips=None, out=run, device="cpu", reporter=reporter)
        else:
            train_dit(loaded, latents=given.latents, vae=given.vae, out=run, device="cpu", reporter=reporter)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    held = resident("VmHWM") - before
    cost = count_training(loaded.recipe, "cpu", latents=given.latents)
    plan = plan_cluster(cost, open_cluster(cost, "cpu", nodes=1, gpus=1, utilisation=1.0))
    counted = sum(plan.memory.values())
    print(
        f"memory: counted {counted / 1e6:.0f} MB, held {held / 1e6:.0f} MB, {counted / held:.2f} of it; {plan.memory}"
    )
    if not given.busy:
        seconds = [line["seconds"] for line in lines if "loss" in line]
        print(f"time: {plan.step_seconds:.2f} s at the whole rate of products, {seconds[-1] - seconds[-2]:.2f} s taken")


if __name__ == "__main__":
    main()
