"""Two ranks of a tiny training of a captioner, started by test_train_captioner.py; each rank is a fork.

Usage: python -m tests.pipelines.caption_rank_child RUN PORT
"""

import os
import sys
from pathlib import Path

import torch

from soracli.data import drawn_scenes
from soracli.pipelines.recipes import CaptionTrainRecipe
from soracli.pipelines.train_captioner import train_captioner
from soracli.recipe.load import load_recipe

TINY = (
    "captioner.side=16", "captioner.num_frames=3", "captioner.widths=[4, 6, 8]", "captioner.blocks=[1, 0, 1]",
    "captioner.hidden_size=24", "captioner.num_heads=2", "captioner.video_depth=1", "captioner.read_depth=1",
    "captioner.write_depth=1", "captioner.embedding_size=8", "captioner.vocabulary_size=300",
    "captioner.max_tokens=100", "data.scenes=6", "data.scene_frames=5", "data.seconds_between=0.5",
    "data.stages=[{num_frames = 1, batch_size = 4, short_share = 1.0, until_step = 2}, "
    "{num_frames = 3, batch_size = 4, from_step = 2}, {num_frames = 1, batch_size = 4, from_step = 2, weight = 0.3}]",
    "loop.steps=6", "loop.save_every=2", "loop.log_every=1", "loop.eval_every=3", "loop.num_threads=1",
    "loop.ema_decay=0.9", "optimiser.warmup_steps=2", "optimiser.learning_rate=0.003",
)  # fmt: skip

if __name__ == "__main__":
    drawn_scenes.CHUNK = 4  # two files, so that each rank draws one
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # what torch imports for its first optimiser, once
    ranks = []
    for rank in range(2):
        process = os.fork()
        if process == 0:
            place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
            os.environ.update(place, MASTER_PORT=sys.argv[2])
            recipe = load_recipe(
                CaptionTrainRecipe,
                None,
                [*TINY, "optimiser.learning_rate=0.00001", "loop.eval_every=0"],
            )
            train_captioner(recipe, clips=None, out=Path(sys.argv[1]), device="cpu")
            sys.exit(0)
        ranks.append(process)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0 for process in ranks))
