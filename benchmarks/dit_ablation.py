"""What each choice of the DiT and of its training is worth: arms against one base at equal counted work, over seeds.

    S="world.shapes=[{seconds=2.7}, {seconds=2.7, width=224}, {seconds=2.7, height=224}]"
    E="--set world_edits.videos=0 --set world_edits.images=0 --set world.tails=false"
    sora latents cache --vae nano --out ablation/latents --set "$S" $E --set world.videos=1500 --set world.images=3000
    sora latents cache --vae nano --out ablation/held_out --set "$S" $E --set world.videos=96 --set world.images=96 \
        --set world.seed=12
    python benchmarks/dit_ablation.py --latents ablation/latents --held-out ablation/held_out --vae nano \
        --out ablation/arms
    python benchmarks/dit_ablation.py ... --arms cross diffit --teraflop 20    # some of them, and the base; shorter
    python benchmarks/dit_ablation.py ... --count-only                         # what an arm costs; nothing is trained

The caches hold scenes of the world in three aspects (128x128, 224x128, 128x224), drawn from two different worlds.
Every arm changes one thing of the base, a DiT smaller than nano (``BASE``), and trains it from nothing by ``sora dit
train``'s own function, for as many steps as its counted work allows: all operations of an update, forward, backward
and what the optimiser multiplies, on its own batches. AdamW and Muon have three learning rates each, of which the best
counts and all are shown; all other arms have the base's rate. Measured are, with the averaged weights:

    loss       flow matching on the held-out cache: the same samples with the same noise for all arms, whole videos; by
               noise level; of pictures; and of the middle squares of videos, which the arm of squares was trained on
    obedience  objects asked for that the judge finds with their colour and shape, at 128x128; also whole prompts,
               numbers of objects, grounds
    framing    of the base and of the arm of squares, at 128x128 and at 224x128 (soracli/metrics/framing.py)

An arm differs from the base by the mean over the seeds that both have of differences at the same seed; within their
spread (soracli/metrics/over_seeds.py) the table says "no difference". A finished arm is kept; one that was stopped goes
on. Learning rates are compared at the first seed, so those that lose need no other: --seeds 1 first, then --arms.
In this world the middle square of a wide frame is framed nearly as well as the whole, since the field of view is that
of the shorter side: the rows "drawn" say how much a square cuts at all.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from soracli.core.errors import SoraError, UsageError
from soracli.core.files import write_json_atomic
from soracli.core.progress import SilentReporter
from soracli.data.latents import LatentCache
from soracli.metrics.intervals import wilson_share
from soracli.metrics.obedience import match_objects, score_scene
from soracli.metrics.over_seeds import difference
from soracli.models.judge import Judge
from soracli.models.judge_store import load_judge
from soracli.pipelines.dit_compute import UpdateWork, count_updates
from soracli.pipelines.evaluate_dit import find_judge
from soracli.pipelines.evaluate_framing import BESIDE, GENERATED, evaluate_framing
from soracli.pipelines.find_model import find_model
from soracli.pipelines.held_out_loss import BANDS, held_out_loss
from soracli.pipelines.judge import judge_video
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.pipelines.train_dit import train_dit
from soracli.pipelines.video_maker import VideoMaker, open_model
from soracli.pipelines.world_prompts import draw_prompts
from soracli.recipe.find import find_recipe
from soracli.recipe.load import Loaded, load_recipe
from soracli.training.device import set_threads
from soracli.training.distributed import open_world

BASE = (
    "dit.hidden_size=160",
    "dit.depth=6",
    "dit.edits=false",
    "text.hidden_size=128",
    "samples.batch_size=16",
    "samples.images_first=0",
    "samples.edit_share=0",
    "samples.cut_share=0",
    "samples.latent_frames=[5, 9]",
    "optimiser.warmup_steps=50",
    "loop.ema_decay=0.99",
    "loop.eval_every=0",
    "loop.sample_every=0",
    "loop.save_every=100",
    "loop.keep_checkpoints=1",
    "loop.log_every=1",
    "loop.store=float32",
)
"""On top of nano/dit: what all arms share."""
ARMS: dict[str, dict[str, str]] = {
    "base": {},
    "muon 1e-3": {"optimiser.learning_rate": "1e-3"},
    "muon 4e-3": {"optimiser.learning_rate": "4e-3"},
    "adamw 5e-4": {"optimiser.name": "adamw", "optimiser.learning_rate": "5e-4"},
    "adamw 1e-3": {"optimiser.name": "adamw", "optimiser.learning_rate": "1e-3"},
    "adamw 2e-3": {"optimiser.name": "adamw", "optimiser.learning_rate": "2e-3"},
    "cross": {"dit.text": "cross"},
    "windows": {"dit.attention": "windows", "dit.window_size": "[2, 2]"},
    "diffit": {"dit.block": "diffit"},
    "videos only": {"samples.image_share": "0"},
    "square": {"samples.square": "true"},
}
"""What each changes; the base is Muon at 2e-3 with joint text, full attention, AdaLN, pictures and native sizes."""
RATES = {"muon": ("base", "muon 1e-3", "muon 4e-3"), "adamw": ("adamw 5e-4", "adamw 1e-3", "adamw 2e-3")}
HELD_OUT: dict[str, dict[str, Any]] = {
    "videos": {"image_share": 0.0},
    "pictures": {"image_share": 1.0},
    "squares": {"image_share": 0.0, "square": True},
}
FRAMED = ("base", "square")
FRAMING = {
    "found": "objects found",
    "whole": "whole, of frames",
    "whole_if_found": "whole, of those found",
    "placed": "relations right",
    "off_centre": "distance from the middle",
}
"""Figures of framing and what they are called."""
SIZES = ((128, 128), (128, 224))
"""Height and width of videos; obedience is judged at the first."""


def load_arm(given: argparse.Namespace, name: str, seed: int, steps: int) -> Loaded[DitTrainRecipe]:
    """The recipe of one training."""
    changes = [f"{key}={value}" for key, value in ARMS[name].items()]
    loop = [f"loop.steps={steps}", f"loop.seed={seed}", f"loop.num_threads={given.threads}"]
    return load_recipe(DitTrainRecipe, find_recipe("nano/dit"), [*BASE, *given.set, *changes, *loop])


def losses(run: Path, recipe: DitTrainRecipe, given: argparse.Namespace) -> dict[str, Any]:
    """What the finished model's predictions cost, by set."""
    common = load_arm(given, "base", 0, 1).recipe.samples
    found = {}
    with open_world(given.device) as world:
        for name, changes in HELD_OUT.items():
            samples = common.model_copy(update=changes)
            found[name] = asdict(held_out_loss(run, given.held_out, recipe, samples, count=given.samples, world=world))
    return found


def obedience(maker: VideoMaker, judge: Judge, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """How many of how many came out as asked."""
    answers: dict[str, list[bool | None]] = {"objects": [], "prompts": [], "numbers": [], "grounds": []}
    for number, prompt in enumerate(draw_prompts(given.prompts, 0)):
        asked, seen = prompt.asked, judge_video(judge, maker.make(prompt.text, number, given.seconds), maker.fps)
        for want, found in zip(asked.objects, match_objects(asked.objects, seen.objects), strict=True):
            got = None if found is None else seen.objects[found]
            answers["objects"].append(got is not None and (want.colour, want.shape) == (got.colour, got.shape))
        right = score_scene(asked, seen)
        answers["prompts"].append(right.colour_and_shape)
        answers["numbers"].append(right.count)
        answers["grounds"].append(right.ground)
    given_answers = {name: [answer for answer in all_ if answer is not None] for name, all_ in answers.items()}
    return {name: asdict(wilson_share(sum(some), len(some))) for name, some in given_answers.items() if some}


def framing(run: Path, judge: Judge, given: argparse.Namespace, beside: Sequence[str]) -> dict[str, Any]:
    """Figures of videos of each size, by source."""
    device = next(judge.parameters()).device
    found = {}
    for size in SIZES:
        report = evaluate_framing(
            open_model(run, device, size=size),
            judge,
            count=given.prompts,
            seconds=given.seconds,
            seed=0,
            device=device,
            reporter=SilentReporter(),
            beside=beside,
        )
        found[f"{size[1]}x{size[0]}"] = {name: asdict(figures) for name, figures in report.figures.items()}
    return found


def run_arm(name: str, seed: int, work: UpdateWork, given: argparse.Namespace) -> dict[str, Any]:
    """Train one arm with one seed and measure it."""
    loaded = load_arm(given, name, seed, work.steps(1e12 * given.teraflop))
    folder = folder_of(given, name, seed)
    train_dit(loaded, latents=given.latents, vae=given.vae, out=folder, device=given.device)
    set_threads(given.threads)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    tokens = sum(line["tokens"] for line in lines)
    with open_world(given.device) as world:
        judge = load_judge(find_judge(None, given.vae), world.device)
        shown = obedience(open_model(folder, world.device, size=SIZES[0]), judge, given)
    figures: dict[str, Any] = {
        "asked": asked(given),
        "steps": work.steps(1e12 * given.teraflop),
        "tokens": tokens,
        "teraflop": tokens * work.flop_per_token / 1e12,
        "seconds": sum(line["tokens"] / line["tokens_per_second"] for line in lines),
        "losses": losses(folder, loaded.recipe, given),
        "obedience": shown,
    }
    if name in FRAMED:
        # What stands beside generated videos is the same for all.
        figures["framing"] = framing(folder, judge, given, BESIDE if (name, seed) == ("base", 0) else ())
    return figures


def asked(given: argparse.Namespace) -> dict[str, Any]:
    """What decides an arm's figures, beside the arm itself."""
    names = ("teraflop", "prompts", "samples", "seconds", "set")
    caches = {name: LatentCache(getattr(given, name)).content_hash for name in ("latents", "held_out")}
    return {name: getattr(given, name) for name in names} | caches


def folder_of(given: argparse.Namespace, name: str, seed: int) -> Path:
    """The run of an arm."""
    return Path(given.out) / name.replace(" ", "_") / f"seed_{seed}"


def read_done(given: argparse.Namespace, name: str, seed: int) -> dict[str, Any] | None:
    """Figures of an arm with a seed, None if it is not done.

    Raises:
        UsageError: If they were made with other settings.
    """
    path = folder_of(given, name, seed) / "ablation.json"
    if not path.is_file():
        return None
    figures: dict[str, Any] = json.loads(path.read_text())
    differing = [key for key, value in asked(given).items() if figures["asked"].get(key) != value]
    if differing:
        raise UsageError(f"{path} was made with another {' and '.join(differing)}: name another --out")
    return figures


Found = dict[str, list[dict[str, Any]]]
"""Figures by arm and seed, of the arms that are done with the first seed at least."""
Column = tuple[list[float], list[int]]
"""A figure by seed, and if it is a share, of how many."""


def column(runs: Sequence[dict[str, Any]], *keys: Any) -> Column:
    """A figure of an arm, wherever it lies; empty where a seed has none."""
    values: list[Any] = list(runs)
    for key in keys:
        values = [value[key] for value in values]
    if None in values:
        return [], []
    if isinstance(values[0], dict):
        return [value["share"] for value in values], [value["total"] for value in values]
    return values, []


def cell(column: Column, digits: int, scale: float = 1.0) -> str:
    """Mean and standard deviation over seeds."""
    values = [value * scale for value in column[0]]
    if len(values) < 2:
        return "".join(f"{value:.{digits}f}" for value in values)
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def apart(one: Column, other: Column, digits: int) -> str:
    """One figure against another at the seeds that both have, or that there is nothing to say."""
    if not one[0] or not other[0]:
        return ""
    seeds = min(len(one[0]), len(other[0]))
    found = difference(one[0][:seeds], other[0][:seeds], one[1][:seeds])
    if found.spread is None:
        return f"{found.mean:+.{digits}f} (one seed)"
    said = f"{found.mean:+.{digits}f} ± {found.spread:.{digits}f}"
    return said if found.is_clear else f"no difference ({said})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def arms_table(found: Found) -> str:
    """One row an arm: what it had, what came out, and its difference from the base."""
    rows = []
    for name, runs in found.items():
        loss, right = column(runs, "losses", "videos", "mean"), column(runs, "obedience", "objects")
        against = found["base"] if name != "base" and "base" in found else []
        rows.append(
            [
                name,
                str(len(runs)),
                cell(column(runs, "steps"), 0),
                cell(column(runs, "tokens"), 2, 1e-6),
                cell(column(runs, "teraflop"), 1),
                cell(column(runs, "seconds"), 0),
                cell(loss, 4),
                apart(loss, column(against, "losses", "videos", "mean"), 4) if against else "",
                cell(right, 3),
                apart(right, column(against, "obedience", "objects"), 3) if against else "",
            ]
        )
    head = ("arm", "seeds", "steps", "million tokens", "TFLOP", "seconds", "held-out loss", "against the base")
    return table([*head, "objects right", "against the base"], rows)


def rates_text(found: Found) -> str:
    """AdamW against Muon, each at the rate with the lowest loss of the first seed."""
    if not all(name in found for names in RATES.values() for name in names):
        return ""
    by_arm = {name: column(found[name], "losses", "videos", "mean") for names in RATES.values() for name in names}
    muon, adamw = (min(names, key=lambda name: by_arm[name][0][0]) for names in RATES.values())
    right = [column(found[name], "obedience", "objects") for name in (adamw, muon)]
    return (
        f"AdamW at its best rate ({adamw}) against Muon at its best ({muon}): held-out loss "
        f"{apart(by_arm[adamw], by_arm[muon], 4)}, objects right "
        f"{apart(right[0], right[1], 3)}."
    )


def losses_table(found: Found) -> str:
    """Losses by noise level and of the other sets, and what else the judge was asked."""
    bands = [f"t from {number / BANDS:g}" for number in range(BANDS)]
    questions = ("prompts", "numbers", "grounds")
    rows = [
        [
            name,
            *(cell(column(runs, "losses", "videos", "by_noise", number), 4) for number in range(BANDS)),
            *(cell(column(runs, "losses", key, "mean"), 4) for key in ("pictures", "squares")),
            *(cell(column(runs, "obedience", key), 3) if key in runs[0]["obedience"] else "" for key in questions),
        ]
        for name, runs in found.items()
    ]
    return table(["arm", *bands, "pictures", "squares", *(f"{name} right" for name in questions)], rows)


def framing_table(found: Found) -> str:
    """Framing by size, of generated videos and of what stands beside them."""
    rows = []
    for height, width in SIZES:
        size = f"{width}x{height}"
        shown = {name: [run["framing"][size][GENERATED] for run in found[name]] for name in FRAMED if name in found}
        beside = found["base"][0]["framing"][size] if "base" in found else {}
        for name, runs in (shown | {name: [beside[name]] for name in BESIDE if name in beside}).items():
            rows.append([size, "drawn" if name == "truth" else name, *(cell(column(runs, key), 3) for key in FRAMING)])
        if len(shown) == len(FRAMED):
            base, square = (shown[name] for name in FRAMED)
            differences = [apart(column(square, key), column(base, key), 3) for key in FRAMING]
            rows.append([size, "square against the base", *differences])
    return table(["size", "videos of", *FRAMING.values()], rows)


def report(given: argparse.Namespace) -> str:
    """Everything that is done, as Markdown."""
    found: Found = {}
    for name in ARMS:
        runs = [read_done(given, name, seed) for seed in range(given.seeds)]
        if runs[0] is not None:
            found[name] = [figures for figures in takewhile(bool, runs) if figures]
    machine = (
        f"{platform.machine()}, {given.threads or 'all'} threads, device {given.device}, torch {torch.__version__}"
    )
    head = (
        f"{given.teraflop:g} TFLOP an arm as counted on its own first batches, seeds from 0, mean ± "
        f"standard deviation over seeds; {given.samples} held-out samples a set, {given.prompts} prompts of "
        f"{given.seconds:g} s a seed; {machine}"
    )
    if given.set:
        head += f"; with {' '.join(given.set)}"
    parts = [head, arms_table(found), rates_text(found), losses_table(found), framing_table(found)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    Path(given.out).mkdir(parents=True, exist_ok=True)
    (Path(given.out) / "ablation.md").write_text(text)
    (Path(given.out) / "ablation.json").write_text(json.dumps({"asked": asked(given), "arms": found}, indent=1) + "\n")
    return text


def count_text(works: dict[str, UpdateWork], given: argparse.Namespace) -> str:
    """What arms cost, before anything is trained."""
    rows = [
        [
            name,
            f"{work.flop_per_token / 1e6:.2f}",
            f"{work.tokens:.0f}",
            str(work.steps(1e12 * given.teraflop)),
        ]
        for name, work in works.items()
    ]
    return table(["arm", "MFLOP a token", "tokens a step", f"steps in {given.teraflop:g} TFLOP"], rows)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latents", type=Path, required=True, help="cache to train on")
    parser.add_argument("--held-out", type=Path, required=True, help="cache of another world, to measure losses on")
    parser.add_argument("--vae", default="nano", help="what both were cached with")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS), help="the base is always run")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--teraflop", type=float, default=50.0, help="counted work of each arm")
    parser.add_argument("--prompts", type=int, default=32, help="videos of each arm and seed that the judge sees")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of those videos")
    parser.add_argument("--samples", type=int, default=128, help="held-out samples of each set")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of all arms' recipes")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--count-only", action="store_true", help="say what arms cost and stop")
    given = parser.parse_args(arguments)
    if min(given.seeds, given.prompts, given.samples) < 1:
        parser.error("--seeds, --prompts and --samples must be at least 1")
    given.vae = find_model(given.vae)
    given.arms = ["base", *(name for name in ARMS if name in given.arms and name != "base")]
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet, seed by seed, and print the tables."""
    try:
        given = parse(arguments)
        set_threads(given.threads)
        works: dict[str, UpdateWork] = {}
        for seed in range(1 if given.count_only else given.seeds):
            for name in given.arms:
                if not given.count_only and read_done(given, name, seed) is not None:
                    continue
                if name not in works:
                    works[name] = count_updates(load_arm(given, name, 0, 1).recipe, given.latents, device=given.device)
                if given.count_only:
                    continue
                print(f"{name}, seed {seed}: {works[name].steps(1e12 * given.teraflop)} steps", file=sys.stderr)
                figures = run_arm(name, seed, works[name], given)
                write_json_atomic(folder_of(given, name, seed) / "ablation.json", figures)
                report(given)
        print(count_text(works, given) if given.count_only else report(given))
    except SoraError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
