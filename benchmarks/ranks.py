"""How a training of a DiT scales from one process to several, and what it costs to hold the weights between them.

    python benchmarks/ranks.py                                    # 1 and 2 processes of one thread each, nano/dit
    python benchmarks/ranks.py --set optimiser.name=adamw --tokens 8192 --json result.json

Four ways of the same training take turns in one run, a few steps at a time, so that a machine that slows down slows
all of them: one process; several at once that know nothing of one another, which is as much as this machine has for
several; several that hold all weights each (an all-reduce of gradients); several that hold them between them
(``shard_ranks = 0``). Every process has one thread and a sequence of as many tokens a step, so several do
that many times the work. A step is all that ``sora dit train`` does in one: samples are drawn of a made-up cache and
packed, learnt from, averaged. Each turn does the same steps with all of them; medians over turns are printed. Ranks are
forks; nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache, write_index, write_shard
from soracli.models.store import load_vae
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.dit_packing import work_of
from soracli.pipelines.dit_start import learn_tokenizer
from soracli.pipelines.dit_state import build_state
from soracli.pipelines.dit_step import Batch, DiTWithText, learn
from soracli.pipelines.find_model import find_vae
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.recipe.find import find_recipe
from soracli.recipe.load import load_recipe
from soracli.training.device import product_dtype
from soracli.training.distributed import World, all_mean, barrier, open_world
from soracli.training.sharding import open_sharding
from soracli.training.state import TrainState

WAYS = ("one", "apart", "replicated", "sharded")
ALONE = ("one", "apart")
PLAIN = ("samples.images_first=0", "samples.edit_share=0", "samples.cut_share=0", "loop.num_threads=1")
"""The made-up cache has neither edits nor cuts, and a training shows pictures alone for its first steps only."""
LENGTHS = (13, 9, 13, 9, 5, 1)


@dataclass(frozen=True)
class Turn:
    """Some steps of one way.

    Attributes:
        seconds: They took.
        tokens: In them, of all ranks.
        work: In them, of all ranks: multiplications of samples, for sequences as full may cost differently.
    """

    seconds: float
    tokens: float
    work: float


def prepare(folder: Path, side: int) -> None:
    """Smooth random latents of so many rows and columns that say they are of the nano VAE."""
    torch.manual_seed(0)
    spec = load_vae(find_vae("nano"))[1]
    values = [torch.randn(spec.channels, 1, side, side) + torch.linspace(0, 1, n)[:, None, None] for n in LENGTHS]
    records = [
        {
            "source": "world",
            "name": f"scene {number}",
            "fps": 12.0,
            "captions": [f"a red ball number {number} rolls past a blue cube while the camera pans to the left"],
            "still_captions": ["a red ball and a blue cube"],
        }
        for number in range(len(values))
    ]
    write_shard(folder, "all", values, records)
    write_index(folder, spec, ["all"], {})


class Samples:
    """What so many ranks are shown."""

    def __init__(self, cache: LatentCache, given: argparse.Namespace, ranks: int):
        size = (f"samples.max_tokens={given.tokens}", f"samples.sequences={ranks}")
        self.recipe = load_recipe(DitTrainRecipe, find_recipe(given.recipe), [*PLAIN, *given.set, *size]).recipe
        self.sampler = LatentSampler(cache, self.recipe.samples, self.recipe.caption)
        self.tokenizer = learn_tokenizer(cache, self.recipe)

    def draw(self, step: int, world: World) -> Batch:
        """This rank's of a step."""
        return draw_batch(self.sampler, self.tokenizer, self.recipe, step, world)


class Training:
    """One way on this rank.

    Attributes:
        world: The ranks of it.
        beside: Those that do it at the same time.
    """

    def __init__(self, way: str, channels: int, samples: Samples, world: World):
        """Build it; all ranks of it together."""
        self.world, self.samples = World(0, 1, 0, world.device) if way in ALONE else world, samples
        self.beside = world if way == "apart" else self.world
        self.recipe = samples.recipe.model_copy(update={"shard_ranks": 0 if way == "sharded" else 1})
        sharding = open_sharding(self.world, self.recipe.shard_ranks)
        self.state: TrainState = build_state(self.recipe, channels, self.world, sharding=sharding)

    def do(self, first: int, steps: int) -> Turn:
        """Steps from ``first`` on."""
        assert isinstance(self.state.model, DiTWithText)
        barrier(self.beside)
        began, tokens, work = time.perf_counter(), 0.0, 0.0
        for self.state.step in range(first, first + steps):
            batch = self.samples.draw(self.state.step, self.world)
            tokens += learn(self.state.model, batch, self.recipe, self.state, self.world)["tokens"]
            work += sum(work_of(self.recipe, segment.length) for part, _ in batch for segment in part.segments)
        barrier(self.beside)
        seconds = time.perf_counter() - began
        times = self.beside.size // self.world.size
        return Turn(seconds, times * tokens, all_mean([work], self.world)[0] * self.beside.size)


def run_rank(folder: Path, given: argparse.Namespace) -> None:
    """All ways in turns; rank 0 writes what they took."""
    torch.set_num_threads(1)
    cache = LatentCache(folder / "latents")
    turns: dict[str, list[Turn]] = {way: [] for way in WAYS}
    with open_world("cpu", 3600.0) as world:
        alone, together = Samples(cache, given, 1), Samples(cache, given, world.size)
        trainings = {
            way: Training(way, cache.spec.channels, alone if way in ALONE else together, world)
            for way in WAYS
            if way != "one" or world.is_main
        }
        for number in range(-1, given.turns):
            order = WAYS if number % 2 else WAYS[::-1]
            for way in order:
                if way in trainings:
                    turn = trainings[way].do(max(0, number) * given.steps, given.steps)
                    if number >= 0:  # the first finds out how to multiply
                        turns[way].append(turn)
                barrier(world)
            if world.is_main and number >= 0:
                shown = ", ".join(f"{way} {turns[way][-1].seconds / given.steps:.3f} s" for way in WAYS)
                print(f"turn {number + 1} of {given.turns}: a step of {shown}", file=sys.stderr, flush=True)
        if world.is_main:
            plain = {way: [vars(turn) for turn in each] for way, each in turns.items()}
            parameters = sum(weight.numel() for weight in trainings["one"].state.model.parameters())
            dtype = str(product_dtype(trainings["one"].recipe.loop.precision, world.device)).removeprefix("torch.")
            facts = {"turns": plain, "parameters": parameters, "multiplied_in": dtype}
            (folder / "turns.json").write_text(json.dumps(facts))


def start_ranks(folder: Path, given: argparse.Namespace) -> int:
    """Fork all ranks and wait; how many left with an error."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = []
    for rank in range(given.ranks):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(given.ranks))
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
                run_rank(folder, given)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        processes.append(process)
    return sum(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0 for process in processes)


def table(facts: dict[str, object], given: argparse.Namespace) -> tuple[str, dict[str, float]]:
    """Lines to read, and the figures."""
    turns = {way: [Turn(**turn) for turn in each] for way, each in facts["turns"].items()}  # type: ignore[attr-defined]

    def median(way: str, figure: str) -> float:
        return statistics.median(getattr(turn, figure) / turn.seconds for turn in turns[way])

    def ratio(one: str, other: str, figure: str) -> float:
        """Median over turns of rates of one way over those of another beside it."""
        pairs = zip(turns[one], turns[other], strict=True)
        return statistics.median(getattr(a, figure) / a.seconds / (getattr(b, figure) / b.seconds) for a, b in pairs)

    figures = {
        "scaling_apart": ratio("apart", "one", "tokens"),
        "replicated_over_apart": ratio("replicated", "apart", "work"),
        "scaling_tokens": ratio("replicated", "one", "tokens"),
        "scaling_work": ratio("replicated", "one", "work"),
        "scaling_tokens_sharded": ratio("sharded", "one", "tokens"),
        "sharded_over_replicated": ratio("replicated", "sharded", "tokens"),
    }
    lines = [
        f"{given.recipe}, {facts['parameters'] / 1e6:.2f} M numbers, multiplied in {facts['multiplied_in']}; "  # type: ignore[operator]
        f"up to {given.tokens} tokens a process and step; {given.turns} turns of {given.steps} steps; torch "
        f"{torch.__version__}, {platform.machine()}",
        f"{'way':12}{'processes':>10}{'tokens/s':>10}{'s a step':>10}",
    ]
    for way in WAYS:
        processes = 1 if way == "one" else given.ranks
        seconds = statistics.median(turn.seconds for turn in turns[way]) / given.steps
        lines.append(f"{way:12}{processes:10}{median(way, 'tokens'):10.0f}{seconds:10.3f}")
    lines += [
        f"{given.ranks} processes over one, tokens/s: {figures['scaling_tokens']:.2f} (work/s "
        f"{figures['scaling_work']:.2f}; sharded, tokens/s {figures['scaling_tokens_sharded']:.2f})",
        f"{given.ranks} that know nothing of one another over one: {figures['scaling_apart']:.2f}; replicated over "
        f"those, work/s: {figures['replicated_over_apart']:.2f}",
        f"a sharded step over a replicated one: {figures['sharded_over_replicated']:.3f}",
    ]
    return "\n".join(lines), figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="nano/dit", help="default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--ranks", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--tokens", type=int, default=4096, help="of a process and step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="of a turn (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--side", type=int, default=8, help="rows and columns of latents (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder / "latents", given.side)
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # what torch imports for its first optimiser, once
        if failed := start_ranks(folder, given):
            print(f"{failed} of {given.ranks} ranks failed", file=sys.stderr)
            return 1
        facts = json.loads((folder / "turns.json").read_text())
    text, figures = table(facts, given)
    print(text)
    if given.json:
        options = {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()}
        given.json.write_text(json.dumps({"options": options, **facts, **figures}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
