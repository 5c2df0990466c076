"""How many captions should be written by a captioner: DALL-E 3's experiment, at equal compute, with seeds and spread.

    python benchmarks/caption_mixture.py --out runs/mixture
    python benchmarks/caption_mixture.py --out runs/mixture --arms 0 0.95 --seeds 1 --steps 200 --prompts 16   # shorter

"Originals" are the truth about the world's scenes made worse as alt-text is (``soracli.data.world.alt_text``); one
cache of latents holds them beside short and long captions. Every arm trains the same DiT from nothing on it, with
another ``caption.synthetic``, for as many steps as its counted operations allow: those of the arm with written captions
alone, whose texts are the longest, at ``--steps``. Judged is obedience, for short and for long prompts. What is done is
not run again.
Source: Betker et al. 2023, "Improving Image Generation with Better Captions", section 3.2 and figure 4.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soracli.cli.console import TerminalReporter
from soracli.core.files import write_json_atomic
from soracli.core.progress import Reporter
from soracli.models.judge_store import load_judge
from soracli.pipelines.cache_latents import cache_latents
from soracli.pipelines.evaluate_dit import find_judge
from soracli.pipelines.evaluate_obedience import evaluate_obedience
from soracli.pipelines.find_model import find_model
from soracli.pipelines.plan_dit import plan_dit
from soracli.pipelines.recipes import DitTrainRecipe, LatentsCacheRecipe
from soracli.pipelines.train_dit import train_dit
from soracli.pipelines.video_maker import open_model
from soracli.recipe.find import find_recipe
from soracli.recipe.load import Loaded, load_recipe
from soracli.training.device import choose_device

SHARES = (0.0, 0.5, 0.8, 0.95, 1.0)
QUESTIONS = ("colour_and_shape", "motion", "count", "ground", "camera")
GROUPS = ("short", "long")


def recipe_of(given: argparse.Namespace, share: float, seed: int, steps: int) -> Loaded[DitTrainRecipe]:
    """The recipe of one arm."""
    values = [
        f"caption.synthetic={share}",
        f"loop.seed={seed}",
        f"loop.steps={steps}",
        f"samples.images_first={round(0.28 * steps)}",
        "loop.sample_every=0",
        f"loop.save_every={max(1, min(250, steps // 2))}",
        *("dit.edits=false", "samples.edit_share=0", "samples.cut_share=0"),
        *given.set,
    ]
    return load_recipe(DitTrainRecipe, find_recipe("nano/dit"), values)


def equal_steps(given: argparse.Namespace, share: float, seed: int, latents: Path, vae: Path) -> tuple[int, float]:
    """Steps of one arm and operations of each."""
    counted = [
        plan_dit(
            recipe_of(given, one, seed, given.steps).recipe,
            latents=latents,
            vae=vae,
            out=given.out,
            device=given.device,
        ).flops
        for one in (1.0, share)
    ]
    return round(given.steps * counted[0] / counted[1]), counted[1]


def run(given: argparse.Namespace, share: float, seed: int, latents: Path, reporter: Reporter) -> None:
    """Train one arm and judge it."""
    vae, folder = find_model("nano") / "vae", arm_folder(given.out, share, seed)
    steps, flops = equal_steps(given, share, seed, latents, vae)
    began = time.monotonic()
    loaded = recipe_of(given, share, seed, steps)
    train_dit(loaded, latents=latents, vae=vae, out=folder, device=given.device, reporter=reporter)
    device = choose_device(given.device)
    report, _ = evaluate_obedience(
        open_model(folder / "model", device),
        load_judge(find_judge(None, folder), device),
        count=given.prompts,
        seconds=given.seconds,
        seed=given.prompt_seed,
        judge_scenes=0,
        device=device,
        reporter=reporter,
    )
    shares = {
        group: {question: share.share for question, share in report.shares["generated"][group].items()}
        for group in GROUPS
    }
    figures = {"steps": steps, "flops": flops, "seconds": time.monotonic() - began, "shares": shares}
    write_json_atomic(folder / "mixture.json", {**figures, "protocol": report.protocol})


def arm_folder(out: Path, share: float, seed: int) -> Path:
    """Where one arm is."""
    return out / f"synthetic_{share:g}_seed_{seed}"


def mean_and_spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds, %."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread}"


def show(given: argparse.Namespace) -> None:
    """Print the table of what is done, and each arm against that without written captions, seed by seed."""
    found: dict[float, list[Mapping[str, Any]]] = {}
    for share in given.arms:
        paths = [arm_folder(given.out, share, seed) / "mixture.json" for seed in range(given.seeds)]
        found[share] = [json.loads(path.read_text()) for path in paths if path.exists()]
    print(f"nano DiT, equal counted work, {given.seeds} seeds, {given.prompts} prompts; right, % (mean ± deviation)")
    print(f"| synthetic | seeds | steps | {' | '.join(f'{g}: {q}' for g in GROUPS for q in QUESTIONS)} |")
    print(f"|---|---|---|{'---|' * len(GROUPS) * len(QUESTIONS)}")
    for share, arms in found.items():
        if not arms:
            continue
        cells = []
        for group in GROUPS:
            for question in QUESTIONS:
                values = [arm["shares"][group][question] for arm in arms if question in arm["shares"][group]]
                cells.append(mean_and_spread(values) if values else "-")
        print(f"| {100 * share:g} % | {len(arms)} | {arms[0]['steps']} | {' | '.join(cells)} |")


def main() -> None:
    """Run what is not done yet, one after another, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", type=float, default=list(SHARES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="of the arm with written captions alone")
    parser.add_argument("--videos", type=int, default=1000, help="scenes in the cache; twice as many pictures")
    parser.add_argument("--originals", type=int, default=3, help="alt-texts of each scene")
    parser.add_argument("--omission", type=float, default=0.5)
    parser.add_argument("--error", type=float, default=0.1)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--prompt-seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", nargs="*", default=[], help="further changes to nano/dit, for every arm")
    given = parser.parse_args()
    reporter = TerminalReporter()
    world = [f"world.{name}={getattr(given, name)}" for name in ("videos", "originals")]
    world += [f"world.alt_text.{name}={getattr(given, name)}" for name in ("omission", "error", "noise")]
    world += [f"world.images={2 * given.videos}", "world.tails=false", "world.shapes=[{seconds = 4.1}]"]
    no_edits = ["world_edits.videos=0", "world_edits.images=0"]
    recipe = load_recipe(LatentsCacheRecipe, find_recipe("nano/latents"), [*world, *no_edits])
    latents = cache_latents(
        recipe.recipe,
        vae=find_model("nano"),
        clips=None,
        out=given.out / "latents",
        device=given.device,
        reporter=reporter,
    )
    for seed in range(given.seeds):
        for share in given.arms:
            if not (arm_folder(given.out, share, seed) / "mixture.json").exists():
                run(given, share, seed, latents, reporter)
    show(given)


if __name__ == "__main__":
    main()
