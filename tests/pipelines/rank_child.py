"""Two ranks of tiny trainings, started by test_two_ranks.py; each rank is a fork, so that torch is imported once.

Usage: python -m tests.pipelines.rank_child FOLDER PORT PORT; FOLDER holds ``vae`` and ``latents``.
"""

import os
import sys
from pathlib import Path

import torch

from soracli.pipelines import train_vae as vae_pipeline
from soracli.pipelines.train_dit import train_dit
from soracli.pipelines.train_vae import train_vae
from tests.pipelines.runs import GAME, dit_recipe, vae_recipe

# Adam turns a gradient that is nothing but rounding into a step of full size, so the steps are small; its averages
# of gradients tell whether those agree.
SMALL_STEPS = ("optimiser.learning_rate=0.00001", "discriminator_optimiser.learning_rate=0.00001", *GAME)


def train_both(folder: Path, name: str, ports: list[str]) -> None:
    """A VAE, then a DiT on a cache, into ``FOLDER/NAME_vae`` and ``FOLDER/NAME_dit``."""
    os.environ["MASTER_PORT"] = ports[0]
    train_vae(vae_recipe(*SMALL_STEPS, "loop.steps=4"), clips=None, out=folder / f"{name}_vae", device="cpu")
    os.environ["MASTER_PORT"] = ports[1]
    vae, latents = folder / "vae", folder / "latents"
    # In parts, which the one process it is compared with does without.
    train_dit(
        dit_recipe("loop.steps=4", "accumulate=2"), latents=latents, vae=vae, out=folder / f"{name}_dit", device="cpu"
    )


if __name__ == "__main__":
    vae_pipeline._STATISTICS_SAMPLES = 8
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # what torch imports for its first optimiser, once
    ranks = []
    for rank in range(2):
        process = os.fork()
        if process == 0:
            place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
            os.environ.update(place)
            train_both(Path(sys.argv[1]), "two", sys.argv[2:])
            sys.exit(0)
        ranks.append(process)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0 for process in ranks))
