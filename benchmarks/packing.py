"""Packed sequences against batches of one exact shape and against padding to the longest, on one mixed set.

    python benchmarks/packing.py                              # DiT-S by half: 6 x 384, budget 4096, on this machine
    python benchmarks/packing.py --hidden-size 1024 --depth 24 --max-tokens 32768 --device cuda --dtype bfloat16
    python benchmarks/packing.py --plan-only                  # padding and the balance of 8 ranks, counted, no model
    python benchmarks/packing.py --json result.json

The set: one image, and videos of 1, 2, 4 and 8 seconds at 12 frames a second, each at three resolutions (128, 192 and
256 pixels squared) and five aspects (9:16 to 16:9), drawn evenly; 32 x 32 pixels a token, 32 tokens of text. All three
ways train the same DiT with its text encoder, forward and backward, on the same tokens a step at most:

    packed    whole samples of any shape in sequences of --max-tokens, by soracli.data.packing
    buckets   as many samples of one drawn shape as fit: nothing is padded, but a step sees one shape
    longest   as many samples as fit if each is filled up to the longest of the set; nobody sees the filling

A real token is one of a sample. The rivals attend either segment by segment or in one product of a whole batch,
whichever is faster here; ways take turns, and figures are medians over steps of real tokens over seconds. Ranks are
simulated: work is counted, the matrices and attention of all to all, and a step lasts as long as its slowest rank.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

import torch

from soracli.data.packing import deal, make_plan
from soracli.models.config import DiTConfig, TextEncoderConfig
from soracli.models.dit import DiT
from soracli.models.layers import attention
from soracli.models.layers.run_attention import attend_runs
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokens import Piece, Sample, Tokens, pack_tokens
from soracli.pipelines.dit_step import DiTWithText

TEXT_TOKENS = 32
SECONDS, FPS = (0, 1, 2, 4, 8), 12
RESOLUTIONS = (128, 192, 256)
ASPECTS = (9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9)
_COMPRESSION, _PATCH, _PIXELS_PER_LATENT, _CHANNELS = 4, (1, 2, 2), 16, 16
WAYS = ("packed", "buckets", "longest")
RANKS = 8
Shape = tuple[int, int, int]


@dataclass
class Figures:
    """What was found of one way.

    Attributes:
        padding: Share of places in all sequences that hold no real token.
        slowest_rank: Work of the slowest of 8 ranks over their mean, averaged over steps; the worst step beside it.
        worst_step: Of ``slowest_rank``.
        seconds: Of each timed step, by how it attends.
        tokens: Real tokens of each timed step.
    """

    padding: float
    slowest_rank: float
    worst_step: float
    seconds: dict[str, list[float]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        """Median over steps, attending in the faster way."""
        return max(
            statistics.median(tokens / seconds for tokens, seconds in zip(self.tokens, times, strict=True))
            for times in self.seconds.values()
        )


def mixed_set() -> list[Shape]:
    """Latent frames, and rows and columns of tokens, of every kind of sample."""
    side = _PIXELS_PER_LATENT * _PATCH[1]
    shapes = []
    for seconds, resolution, aspect in product(SECONDS, RESOLUTIONS, ASPECTS):
        frames = 1 + (seconds * FPS - 1) // _COMPRESSION if seconds else 1
        rows, columns = (max(1, round(resolution * aspect**power / side)) for power in (-0.5, 0.5))
        shapes.append((frames, rows, columns))
    return shapes


def length_of(shape: Shape) -> int:
    """Tokens of a sample: its text, and one noisy piece."""
    frames, rows, columns = shape
    return TEXT_TOKENS + frames * rows * columns


def work_of(hidden_size: int, length: int) -> float:
    """Counted work of a sample: 12 matrices of D x D a token, and two products of all with all."""
    return length * hidden_size * (12 * hidden_size + 2 * length)


def packed_steps(budget: int, ranks: int, steps: int, seed: int, hidden_size: int) -> list[list[list[Shape]]]:
    """Samples of each rank of each step, a sequence a rank, from as many plans as it takes."""
    shapes = mixed_set()
    made: list[list[list[Shape]]] = []
    while len(made) < steps:
        number = f"{seed} {len(made)}"
        plan = make_plan(
            lambda place, number=number: length_of(random.Random(f"{number} {place}").choice(shapes)),  # type: ignore[misc]
            budget,
            ranks,
            lambda length: work_of(hidden_size, length),
            len(made),
        )
        for step in plan.steps:
            sequences = [[random.Random(f"{number} {place}").choice(shapes) for place in part] for part in step]
            costs = [sum(work_of(hidden_size, length_of(shape)) for shape in part) for part in sequences]
            made.append([sequences[places[0]] for places in deal(costs, ranks)])
    return made


def bucket_steps(budget: int, ranks: int, steps: int, seed: int) -> list[list[list[Shape]]]:
    """Each rank of each step takes one shape, drawn as often as its samples are, and as many of it as fit."""
    rng, shapes = random.Random(f"buckets {seed}"), mixed_set()
    # A step of n samples of a shape uses up n draws, so shapes of large batches come less often.
    weights = [1 / (budget // length_of(shape)) for shape in shapes]
    return [
        [[shape] * (budget // length_of(shape)) for shape in rng.choices(shapes, weights, k=ranks)]
        for _ in range(steps)
    ]


def longest_steps(budget: int, ranks: int, steps: int, seed: int) -> list[list[list[Shape]]]:
    """Each rank of each step takes any samples, as many as fit if all were as long as the longest."""
    rng, shapes = random.Random(f"longest {seed}"), mixed_set()
    count = budget // max(map(length_of, shapes))
    return [[rng.choices(shapes, k=count) for _ in range(ranks)] for _ in range(steps)]


def balance(steps: Sequence[Sequence[Sequence[Shape]]], hidden_size: int, filled_to: int = 0) -> tuple[float, float]:
    """Work of the slowest rank over the mean of ranks: the average over steps, and the worst."""
    ratios = []
    for step in steps:
        loads = [sum(work_of(hidden_size, filled_to or length_of(shape)) for shape in part) for part in step]
        ratios.append(max(loads) * len(loads) / sum(loads))
    return statistics.mean(ratios), max(ratios)


def empty_share(steps: Sequence[Sequence[Sequence[Shape]]], places: Callable[[Sequence[Shape]], int]) -> float:
    """Share of places without a real token."""
    parts = [part for step in steps for part in step]
    return 1 - sum(length_of(shape) for part in parts for shape in part) / sum(map(places, parts))


def build_tokens(shapes: Sequence[Shape], filled_to: int = 0) -> Tokens:
    """Random samples of these shapes in one sequence; ``filled_to``: each with frames behind it that nobody sees."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for frames, rows, columns in shapes:
        sizes = [(frames, rows, columns)]
        if filled_to > length_of(sizes[0]):
            sizes.append((filled_to - length_of(sizes[0]), 1, 1))
        pieces = tuple(
            Piece(
                latents=torch.randn(_CHANNELS, t, h * _PATCH[1], w * _PATCH[2], generator=generator),
                seconds=torch.arange(t) * _COMPRESSION / FPS,
                one_frame=torch.arange(t) == 0,
                t=torch.full((t,), 0.5),
                block=number + 1,
                clean=number > 0,  # the filling is not predicted, and comes after all that is
            )
            for number, (t, h, w) in enumerate(sizes)
        )
        samples.append(Sample(torch.randint(100, (TEXT_TOKENS,), generator=generator), pieces))
    return pack_tokens(samples, _PATCH, (_PIXELS_PER_LATENT,) * 2)


@contextmanager
def attending(how: str) -> Iterator[None]:
    """Attention as it is, or segments of one length in one product."""
    original = attention.attend_segments
    if how == "batched":
        attention.attend_segments = lambda q, k, v, segments, past: attend_runs(q, k, v, segments)
    try:
        yield
    finally:
        attention.attend_segments = original


def time_step(model: DiTWithText, tokens: Tokens, given: argparse.Namespace) -> float:
    """Seconds of a forward and backward pass."""
    began = time.perf_counter()
    with torch.autocast(given.device, getattr(torch, given.dtype), enabled=given.dtype != "float32"):
        loss = model(tokens).float().square().mean()
    loss.backward()
    if given.device == "cuda":
        torch.cuda.synchronize()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - began


def race(figures: dict[str, Figures], given: argparse.Namespace, longest: int) -> None:
    """Time the three ways in turns on one process."""
    torch.manual_seed(0)
    config = DiTConfig(hidden_size=given.hidden_size, depth=given.depth, num_heads=given.heads)
    text = TextEncoderConfig(vocabulary_size=300, hidden_size=64, depth=1, num_heads=2)
    model = DiTWithText(DiT(config, _CHANNELS, text.hidden_size), TextEncoder(text)).to(given.device)
    steps = {
        "packed": packed_steps(given.max_tokens, 1, given.steps, 1, given.hidden_size),
        "buckets": bucket_steps(given.max_tokens, 1, given.steps, 1),
        "longest": longest_steps(given.max_tokens, 1, given.steps, 1),
    }
    for number in range(-1, given.steps):  # the first is there to warm up
        for way in WAYS:
            (shapes,) = steps[way][max(0, number)]
            tokens = build_tokens(shapes, longest if way == "longest" else 0).to(torch.device(given.device))
            for how in ("segments",) if way == "packed" else ("segments", "batched"):
                with attending(how):
                    seconds = time_step(model, tokens, given)
                if number >= 0:
                    figures[way].seconds.setdefault(how, []).append(seconds)
            if number >= 0:
                figures[way].tokens.append(sum(map(length_of, shapes)))


def count(given: argparse.Namespace) -> dict[str, Figures]:
    """Padding and the balance of ranks of each way."""
    budget, width, longest = given.max_tokens, given.hidden_size, max(map(length_of, mixed_set()))
    packed = packed_steps(budget, RANKS, given.plan_steps, 0, width)
    buckets = bucket_steps(budget, RANKS, given.plan_steps, 0)
    padded = longest_steps(budget, RANKS, given.plan_steps, 0)
    return {
        "packed": Figures(empty_share(packed, lambda part: budget), *balance(packed, width)),
        "buckets": Figures(0.0, *balance(buckets, width)),
        "longest": Figures(empty_share(padded, lambda part: longest * len(part)), *balance(padded, width, longest)),
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-tokens", type=int, default=4096, help="of a sequence")
    parser.add_argument("--hidden-size", type=int, default=384)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--steps", type=int, default=12, help="timed, of each way")
    parser.add_argument("--plan-steps", type=int, default=64, help="counted, of 8 ranks")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--plan-only", action="store_true", help="count, and time nothing")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    longest = max(map(length_of, mixed_set()))
    if given.max_tokens < longest:
        parser.error(f"--max-tokens must be {longest} at least, the longest sample of the set")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, race, print, and write if asked to."""
    given = parse(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    longest = max(map(length_of, mixed_set()))
    figures = count(given)
    if not given.plan_only:
        race(figures, given, longest)
    print(f"{'way':8} {'padding':>8} {'slowest of 8 ranks':>19} {'worst step':>11} {'tokens/s':>9} {'packed is':>10}")
    for way, found in figures.items():
        timed = f"{found.tokens_per_second:9.0f}" if found.seconds else f"{'-':>9}"
        ratio = (
            f"{figures['packed'].tokens_per_second / found.tokens_per_second:9.2f}x" if found.seconds else f"{'-':>10}"
        )
        print(f"{way:8} {found.padding:8.2%} {found.slowest_rank:18.3f}x {found.worst_step:10.3f}x {timed} {ratio}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.device}, {given.dtype}")
    if given.json:
        facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.platform()}
        ways = {
            way: {**asdict(found), "tokens_per_second": found.tokens_per_second if found.seconds else None}
            for way, found in figures.items()
        }
        asked = {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()}
        given.json.write_text(json.dumps({"options": asked, **facts, "ways": ways}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
