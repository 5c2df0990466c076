"""Kills a training again and again, and compares what it leaves with a run that nobody disturbed, byte by byte.

    python benchmarks/kills.py                         # 100 kills of a tiny training of 2 ranks, a few seconds each
    python benchmarks/kills.py --ranks 1 --kills 20
    python benchmarks/kills.py --json result.json --keep work/kills     # the runs and what their ranks said stay there

A kill is a SIGKILL of one rank drawn at random. Every third waits until a checkpoint is being written (its ``.part``
folder is there) and comes at a random moment of that; the others come at a random moment since the ranks were started,
so some fall into the start, some into a step, some into a save. After it every other rank must leave by itself within
``--patience`` seconds. Then the same command is given again, until the run is finished; runs follow each other until
there were enough kills.

Compared with the undisturbed run: every line of metrics.jsonl without what measures time, every file of the last
checkpoint, and every file of the model. Nothing may be left of unfinished checkpoints. The exit code is 1 if anything
differs or a rank had to be ended. Ranks are forks of this process, so that torch is imported once; they run what
``sora dit train`` runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from soracli.core.errors import SoraError
from soracli.data.latents import write_index, write_shard
from soracli.models.config import VAEConfig
from soracli.models.store import load_vae, save_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.pipelines.train_dit import train_dit
from soracli.recipe.load import load_recipe

CHANGES = (
    "dit.hidden_size=24", "dit.depth=2", "dit.num_heads=2", "dit.modulation_rank=4", "text.vocabulary_size=300",
    "text.hidden_size=16", "text.num_heads=2", "samples.batch_size=4", "samples.latent_frames=[3, 5]",
    "samples.edit_share=0", "samples.cut_share=0", "order.first_block=2", "order.block=2", "loop.log_every=1",
    "loop.num_threads=1", "optimiser.warmup_steps=2", "optimiser.name=muon",
)  # fmt: skip
TIMES = {"seconds", "seconds_left", "tokens_per_second", "samples_per_second", "utilisation"}
"""Figures of metrics.jsonl that measure time, and so differ from run to run."""
NAP = 0.001
"""Seconds between two looks at a run."""


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        rank: Who was killed.
        into: What it fell into: ``start``, ``step`` or ``save``.
        left: Seconds until the last other rank had left by itself; infinite if one had to be ended.
        lost: Steps that were logged and had to be done again.
    """

    rank: int
    into: str
    left: float
    lost: int


def prepare(folder: Path) -> None:
    """A VAE that has learnt nothing, and smooth random latents that say they are of it."""
    torch.manual_seed(0)
    config = VAEConfig(
        latent_channels=4, patch_size=2, widths=(4, 6, 8), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1, 1)
    )
    save_vae(folder / "vae", VideoVAE(config), torch.zeros(4), torch.ones(4), {})
    values = [torch.randn(4, 1, 4, 4) + torch.linspace(0, 1, n)[:, None, None] for n in (7, 6, 5, 1)]
    records = [
        {
            "source": "world",
            "name": f"scene {number}",
            "fps": 8.0,
            "captions": [f"a ball, number {number}"],
            "still_captions": ["a ball"],
        }
        for number in range(len(values))
    ]
    write_shard(folder / "latents", "all", values, records)
    write_index(folder / "latents", load_vae(folder / "vae")[1], ["all"], {})


def start_ranks(folder: Path, run: Path, given: argparse.Namespace) -> list[int]:
    """Start all ranks of a training into ``run``; their process ids."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = []
    for rank in range(given.ranks):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                handle = os.open(folder / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(handle, 2)
                if given.ranks > 1:
                    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(given.ranks)}
                    os.environ.update(place, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
                code = run_rank(folder, run, given)
            finally:
                os._exit(code)
        processes.append(process)
    return processes


def run_rank(folder: Path, run: Path, given: argparse.Namespace) -> int:
    """Train as one rank; the exit code."""
    torch.set_num_threads(1)
    loop = (f"loop.steps={given.steps}", f"loop.save_every={given.save_every}")
    recipe = load_recipe(DitTrainRecipe, None, [*CHANGES, *loop])
    try:
        train_dit(recipe, latents=folder / "latents", vae=folder / "vae", out=run, device="cpu")
    except SoraError as error:
        print(f"{run.name}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def leave(processes: Sequence[int], patience: float) -> tuple[list[int], float]:
    """Wait until all have left, end those that have not in time: exit codes, and seconds (infinite if any was)."""
    began, codes = time.monotonic(), dict.fromkeys(processes, 1)
    waiting = set(processes)
    while waiting and time.monotonic() - began < patience:
        for process in list(waiting):
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                waiting.remove(process)
                codes[process] = os.waitstatus_to_exitcode(status)
        time.sleep(NAP)
    for process in waiting:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return list(codes.values()), float("inf") if waiting else time.monotonic() - began


def last_step(run: Path) -> int:
    """Steps that were logged."""
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def is_saving(run: Path) -> bool:
    """Whether a checkpoint is being written."""
    return any((run / "checkpoints").glob("step_*.part"))


def any_left(processes: Sequence[int]) -> bool:
    """Whether a process has ended; it stays to be waited for."""
    return any(os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None for process in processes)


def disturb(
    processes: Sequence[int], run: Path, draw: random.Random, in_save: bool, seconds: float, patience: float
) -> Kill | None:
    """Kill a rank at a random moment; None if the ranks were through before that."""
    before, rank = last_step(run), draw.randrange(len(processes))
    until = time.monotonic() + (draw.uniform(0, seconds) if not in_save else float("inf"))
    wanted = before + 1 + draw.randrange(6)
    while time.monotonic() < until:
        if any_left(processes):
            return None
        if in_save and last_step(run) >= wanted and is_saving(run):
            time.sleep(draw.uniform(0, 0.02))
            break
        time.sleep(NAP)
    into = "save" if is_saving(run) else "step" if last_step(run) > before else "start"
    os.kill(processes[rank], signal.SIGKILL)
    _, left = leave(processes, patience)
    done = last_step(run)
    whole = max((int(path.name[5:]) for path in (run / "checkpoints").glob("step_????????")), default=0)
    return Kill(rank, into, left, max(0, done - whole))


def contents(run: Path) -> dict[str, bytes]:
    """All that has to be equal, by name."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    found = {"metrics.jsonl": json.dumps(kept).encode()}
    newest = max((run / "checkpoints").iterdir())
    for path in sorted([*newest.iterdir(), *(run / "model").rglob("*")]):
        if path.is_file():
            found[str(path.relative_to(run))] = path.read_bytes()
    return found


def differences(reference: dict[str, bytes], run: Path) -> list[str]:
    """Names that differ between two finished runs, and what should not be there."""
    found = contents(run)
    names = sorted(name for name in reference.keys() | found.keys() if reference.get(name) != found.get(name))
    return names + [str(path.relative_to(run)) for path in run.rglob("*.part*")]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--ranks", type=int, default=2, help="1, 2 or 4")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--save-every", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and ranks that are drawn")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for the other ranks to leave")
    parser.add_argument("--keep", type=Path, help="folder for the runs; a temporary one by default")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run undisturbed, run with kills, compare, print."""
    given = parse(arguments)
    if given.keep:
        given.keep.mkdir(parents=True)
    with nullcontext(str(given.keep)) if given.keep else tempfile.TemporaryDirectory() as name:
        return kill_and_compare(Path(name), given)


def kill_and_compare(folder: Path, given: argparse.Namespace) -> int:
    """All of it in one folder; the exit code."""
    prepare(folder)
    began = time.monotonic()
    codes, seconds = leave(start_ranks(folder, folder / "undisturbed", given), 3600)
    if any(codes):
        print(f"the undisturbed run left with {codes}: {(folder / 'rank0.log').read_text()}")
        return 1
    reference, draw = contents(folder / "undisturbed"), random.Random(given.seed)
    kills: list[Kill] = []
    wrong: list[str] = []
    runs = 0
    while len(kills) < given.kills:
        run = folder / f"run{runs}"
        runs += 1
        finished = False
        while not finished:
            processes = start_ranks(folder, run, given)
            # A kill at once would be all there is if starting took most of a run.
            if len(kills) < given.kills:
                kill = disturb(processes, run, draw, len(kills) % 3 == 0, 1.2 * seconds, given.patience)
                if kill is not None:
                    kills.append(kill)
                    print(f"{len(kills):4} {run.name}: {kill}", file=sys.stderr, flush=True)
                    continue
            codes, _ = leave(processes, 3600)
            if any(codes):
                wrong.append(f"{run.name} left with {codes}")
            finished = True
        wrong += [f"{run.name}: {name} differs" for name in differences(reference, run)]
    hung = sum(kill.left == float("inf") for kill in kills)
    print(f"{'fell into':10} {'kills':>5} {'of rank 0':>9} {'steps lost':>10} {'others gone after':>18}")
    for into in ("start", "step", "save"):
        some = [kill for kill in kills if kill.into == into]
        if some:
            lost = statistics.mean(kill.lost for kill in some)
            slowest = max(kill.left for kill in some)
            of_main = sum(kill.rank == 0 for kill in some)
            print(f"{into:10} {len(some):5} {of_main:9} {lost:10.1f} {slowest:13.2f} s max")
    print(
        f"{len(kills)} kills of {given.ranks} rank(s) in {runs} runs of {given.steps} steps, "
        f"{hung} times a rank had to be ended"
    )
    for line in wrong:
        print(line)
    good = not wrong and not hung
    print(f"{len(reference)} files of each run compared: {'all equal, byte by byte' if good else 'NOT EQUAL'}")
    if given.json:
        facts = {"torch": torch.__version__, "machine": platform.platform(), "minutes": (time.monotonic() - began) / 60}
        options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()}
        result = {"options": options, **facts, "kills": [asdict(kill) for kill in kills], "wrong": wrong}
        given.json.write_text(json.dumps(result, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
